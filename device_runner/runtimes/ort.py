"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from device_runner.errors import InputError
from device_runner.runtimes.session import Array, Port, Session, installed_version

PACKAGE = "onnxruntime"
PROVIDERS = ("CPUExecutionProvider",)
DTYPES = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}


def find() -> tuple[str, Any]:
    """Import the runtime -> name of its package, its module.

    Raises:
        InputError: it is not installed, or its import fails.
    """
    try:
        return PACKAGE, importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(f"runtime ort cannot be used ({error}): pip install {PACKAGE}") from None


def load(model: bytes, *, threads: int, place: str) -> Session:
    """Bytes of an ONNX file -> session.

    Raises:
        InputError: no runtime; the runtime refuses the file; not one input and one output.
    """
    package, ort = find()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised anyway, warnings would interrupt
    # Worker threads may spin within a query, as users have it, but not on after it: that would
    # take the cores from the artifact that is measured next. No effect with one thread.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(model, options, providers=list(PROVIDERS))
    except Exception as error:  # its exceptions share no base class
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place}: onnxruntime refuses the model file: {line}") from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{place} has {len(inputs)} inputs and {len(outputs)} outputs: it must have one of each"
        )
    source, target = _port(inputs[0]), _port(outputs[0])
    return Session(
        package=package,
        version=installed_version(package),
        delegates=tuple(session.get_providers()),
        input=source,
        output=target,
        run=_Query(session, inputs[0].name, source, outputs[0].name, target),
    )


class _Query:
    """One query through buffers that are bound once, which is ORT's way without allocations."""

    def __init__(self, session: Any, x: str, source: Port, y: str, target: Port) -> None:
        self._x = _buffer(source)
        self._y = _buffer(target)
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._binding.bind_input(x, "cpu", 0, self._x.dtype, self._x.shape, self._x.ctypes.data)
        self._binding.bind_output(y, "cpu", 0, self._y.dtype, self._y.shape, self._y.ctypes.data)

    def __call__(self, x: Array) -> Array:
        self._x[...] = x
        self._run(self._binding)
        return self._y.copy()


def _buffer(port: Port) -> Array:
    """A dimension that the file leaves open stands as 1; `check_port` refuses the file later."""
    shape = tuple(size if isinstance(size, int) else 1 for size in port.shape)
    return np.zeros(shape, dtype=port.dtype)


def _port(value: Any) -> Port:
    return Port(shape=tuple(value.shape), dtype=DTYPES.get(value.type, value.type))
