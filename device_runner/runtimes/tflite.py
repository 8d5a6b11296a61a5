"""LiteRT, or an older package with the same interpreter; each with its own default delegate."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.runtimes.session import (
    Array,
    Port,
    Session,
    TappedSession,
    installed_version,
)
from edgeticket.device_runner.runtimes.trial import why_not
from edgeticket.device_runner.taps.tflite_bytes import check_tflite, tap_tflite
from edgeticket.device_runner.unavailable import Unavailable

# Package and module, in order of preference.
PROVIDERS = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite"),
)


def choose() -> str:
    """Try those that are installed, each in a process of its own -> the first that works.

    Raises:
        InputError: none is installed, or works here.
    """
    reasons = {}
    for package, path in _installed():
        reason = why_not("tflite", path)
        if reason is None:
            return package
        reasons[package] = reason
    raise _unusable(reasons)


def find() -> tuple[str, Any]:
    """Import the first provider that works -> name of its package, its module.

    Raises:
        InputError: none is installed, or the import of those that are fails.
    """
    reasons = {}
    installed = _installed()
    for package, path in installed:
        # Where another one may do, it is asked elsewhere first: its import may end this process.
        reason = why_not("tflite", path) if len(installed) > 1 else None
        if reason is not None:
            reasons[package] = reason
            continue
        try:
            return package, importlib.import_module(path)
        except (Exception, SystemExit) as error:
            reasons[package] = f"{type(error).__name__}: {error}"
    raise _unusable(reasons)


def _installed() -> list[tuple[str, str]]:
    """Package and module of the providers that are there, in order of preference."""
    return [
        (package, path)
        for package, path in PROVIDERS
        if importlib.util.find_spec(path.split(".")[0]) is not None
    ]


def _unusable(reasons: Mapping[str, str]) -> InputError:
    why = "; ".join(f"{package}: {reason}" for package, reason in reasons.items())
    cure = "pip install ai-edge-litert"
    if set(reasons) == {"tflite-runtime"} and int(np.__version__.split(".")[0]) > 1:
        why = f"tflite-runtime was built for numpy 1, and numpy {np.__version__} is here"
        cure = "pip install 'numpy<2'"
    elif "ai-edge-litert" in reasons:
        cure += " in another version, as in ai-edge-litert==2.1.0"
    return InputError(
        f"runtime tflite cannot be used ({why or 'no package of it is installed'}): {cure}"
    )


def load(
    model: bytes, *, threads: int, place: str, batch: int = 1, cpu_only: bool = False
) -> Session:
    """Bytes of a .tflite file -> session; it is on the CPU in any case.

    Raises:
        InputError: no runtime; the runtime refuses the file or the batch; not one input and one
            output.
    """
    package, interpreter = _open(model, threads=threads, place=place)
    if batch > 1:
        _resize(interpreter, batch, place=place)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{place} has {len(inputs)} inputs and {len(outputs)} outputs: it must have one of each"
        )
    return Session(
        package=package,
        version=installed_version(package),
        delegates=_delegates(interpreter),
        input=_port(inputs[0]),
        output=_port(outputs[0]),
        run=_Query(model, interpreter, inputs[0]["index"], outputs[0]["index"]),
    )


def load_tapped(model: bytes, *, threads: int, place: str) -> TappedSession:
    """Bytes of a .tflite file -> session that answers with the output of every layer.

    The interpreter's own ``preserve_all_tensors`` would switch the delegate off, and show another
    arithmetic than the one that is deployed.

    Raises:
        InputError: no runtime; the runtime refuses the file; not one input.
    """
    tapped = tap_tflite(model, place=place)
    package, interpreter = _open(tapped, threads=threads, place=place)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise InputError(f"{place} has {len(inputs)} inputs: it must have one")
    indices = {details["name"]: details["index"] for details in outputs}

    def run(x: Array) -> dict[str, Array]:
        interpreter.set_tensor(inputs[0]["index"], x)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in indices.items()}

    return TappedSession(
        package=package,
        version=installed_version(package),
        delegates=_delegates(interpreter),
        input=_port(inputs[0]),
        output=outputs[0]["name"],
        values={details["name"]: _port(details) for details in outputs},
        run=run,
    )


def _open(model: bytes, *, threads: int, place: str) -> tuple[str, Any]:
    package, module = find()
    check_tflite(model, place=place)
    try:
        # It reads weights from these bytes while it lives, and keeps them itself.
        interpreter = module.Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place}: {package} refuses the model file: {line}") from None
    return package, interpreter


def _resize(interpreter: Any, batch: int, *, place: str) -> None:
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], [batch, *details["shape"][1:]])
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError):
        raise InputError(
            f"{place} does not take {batch} samples at once: its shapes are fixed"
        ) from None


class _Query:
    def __init__(self, model: bytes, interpreter: Any, x: int, y: int) -> None:
        self._model = model  # the interpreter reads weights from these bytes while it lives
        self._set = interpreter.set_tensor
        self._invoke = interpreter.invoke
        self._get = interpreter.get_tensor
        self._x = x
        self._y = y

    def __call__(self, x: Array) -> Array:
        self._set(self._x, x)
        self._invoke()
        y: Array = self._get(self._y)
        return y


def _port(details: Any) -> Port:
    scale, zero_point = details["quantization"]
    quantised = scale != 0.0  # how the interpreter says "not quantised"
    return Port(
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale) if quantised else None,
        zero_point=int(zero_point) if quantised else None,
    )


def _delegates(interpreter: Any) -> tuple[str, ...] | Unavailable:
    """Every provider's default delegate is XNNPACK; older ones leave int8 models out of it."""
    if not hasattr(interpreter, "_get_ops_details"):
        return Unavailable("the interpreter does not list its operators")
    operators = {details["op_name"] for details in interpreter._get_ops_details()}
    return ("XNNPACK",) if "DELEGATE" in operators else ()
