"""LiteRT, or an older package with the same interpreter; each with its own default delegate."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.runtimes.session import (
    Array,
    Port,
    Session,
    TappedSession,
    installed_version,
    order_of,
    port_names,
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
    model: bytes,
    *,
    threads: int,
    place: str,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    batch: int = 1,
    cpu_only: bool = False,
) -> Session:
    """Bytes of a .tflite file -> session; it is on the CPU in any case.

    ``inputs`` and ``outputs``: the order in which they are wanted, by name; None: the file's.

    Raises:
        InputError: no runtime; the runtime refuses the file or the batch; other names.
    """
    package, interpreter = _open(model, threads=threads, place=place)
    if batch > 1:
        _resize(interpreter, batch, place=place)
    taken = _ends(interpreter.get_input_details(), inputs, what="input", place=place)
    given = _ends(interpreter.get_output_details(), outputs, what="output", place=place)
    return Session(
        package=package,
        version=installed_version(package),
        delegates=_delegates(interpreter),
        inputs={name: _port(details) for name, details in taken.items()},
        outputs={name: _output_port(details) for name, details in given.items()},
        query=_Query(model, interpreter, _indices(taken), _indices(given)),
    )


def load_tapped(
    model: bytes, *, threads: int, place: str, outputs: Sequence[str] = ()
) -> TappedSession:
    """Bytes of a .tflite file -> session that answers with the output of every layer.

    The interpreter's own ``preserve_all_tensors`` would switch the delegate off, and show another
    arithmetic than the one that is deployed. ``outputs``: the network's own; none: the first.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    tapped = tap_tflite(model, place=place)
    package, interpreter = _open(tapped, threads=threads, place=place)
    taken = _ends(interpreter.get_input_details(), None, what="input", place=place)
    given = interpreter.get_output_details()
    indices = {details["name"]: details["index"] for details in given}
    sources = _indices(taken)

    def query(tensors: Sequence[Array]) -> dict[str, Array]:
        for index, x in zip(sources, tensors):
            interpreter.set_tensor(index, x)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in indices.items()}

    return TappedSession(
        package=package,
        version=installed_version(package),
        delegates=_delegates(interpreter),
        inputs={name: _port(details) for name, details in taken.items()},
        outputs=tuple(outputs) or (given[0]["name"],),
        values={details["name"]: _port(details) for details in given},
        query=query,
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


def open_interpreter(model: bytes, *, threads: int, place: str) -> Any:
    """Bytes of a .tflite file -> the package's interpreter, ready to run.

    Raises:
        InputError: no runtime; the runtime refuses the file.
    """
    return _open(model, threads=threads, place=place)[1]


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
    def __init__(
        self, model: bytes, interpreter: Any, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        self._model = model  # the interpreter reads weights from these bytes while it lives
        self._set = interpreter.set_tensor
        self._invoke = interpreter.invoke
        self._get = interpreter.get_tensor
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, tensors: Sequence[Array]) -> tuple[Array, ...]:
        for index, x in zip(self._inputs, tensors):
            self._set(index, x)
        self._invoke()
        return tuple(map(self._get, self._outputs))


def _ends(
    details: Sequence[Any], wanted: Sequence[str] | None, *, what: str, place: str
) -> dict[str, Any]:
    """What the interpreter says of inputs or outputs, by name, in the order that is wanted."""
    names = port_names([str(one["name"]) for one in details])
    return {names[i]: details[i] for i in order_of(names, wanted, what=what, place=place)}


def _indices(ends: Mapping[str, Any]) -> list[int]:
    return [int(details["index"]) for details in ends.values()]


def _port(details: Any) -> Port:
    scale, zero_point = details["quantization"]
    quantised = scale != 0.0  # how the interpreter says "not quantised"
    return Port(
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale) if quantised else None,
        zero_point=int(zero_point) if quantised else None,
    )


def _output_port(details: Any) -> Port:
    """An output, of which files may leave sizes open: the interpreter says 1 until it has run."""
    port, signature = _port(details), details["shape_signature"]
    if len(signature) != len(port.shape):
        return port
    sizes = zip(port.shape[1:], signature[1:])
    return replace(port, shape=(*port.shape[:1], *(None if s == -1 else n for n, s in sizes)))


def _delegates(interpreter: Any) -> tuple[str, ...] | Unavailable:
    """Every provider's default delegate is XNNPACK; older ones leave int8 models out of it."""
    if not hasattr(interpreter, "_get_ops_details"):
        return Unavailable("the interpreter does not list its operators")
    operators = {details["op_name"] for details in interpreter._get_ops_details()}
    return ("XNNPACK",) if "DELEGATE" in operators else ()
