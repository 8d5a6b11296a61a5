"""TFLite bytes -> `schema.ModelT`: the one place where the host reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.taps.tflite_bytes import check_tflite

BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if name[0] != "_"}


def parse_tflite(data: bytes, *, place: str) -> Any:
    """Bytes -> `schema.ModelT`, in which every index leads somewhere and names are text.

    Raises:
        InputError: no whole TFLite file; numbers or operators that lead out of it.
    """
    if data[4:8] != b"TFL3":
        raise _broken(place, "it does not say TFL3")
    check_tflite(data, place=place)
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        if not model.subgraphs:
            raise ValueError("it has no graph")
        model.buffers = model.buffers or []
        model.operatorCodes = model.operatorCodes or []
        for code in model.operatorCodes:
            kind_of_code(code)
        for graph in model.subgraphs:
            _check_graph(model, graph)
    except Exception as error:  # flatbuffers checks nothing
        raise _broken(place, str(error) or type(error).__name__) from None
    return model


def kind_of(model: Any, operator: Any) -> str:
    """The name of an operator, of its own if it is a custom one."""
    return kind_of_code(model.operatorCodes[operator.opcodeIndex])


def kind_of_code(code: Any) -> str:
    """The name that an operator code stands for."""
    if code.customCode:
        return str(code.customCode.decode())
    return str(BUILTINS[max(code.builtinCode, code.deprecatedBuiltinCode)])


def name_of(tensor: Any) -> str:
    """Of a `schema.TensorT`; empty if it has none."""
    return str(tensor.name.decode()) if tensor.name else ""


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Of a `schema.TensorT`; a size that the file leaves open stands as 1."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the file holds the numbers of a tensor, in the flatbuffer or behind it.

    Buffer 0 is empty by convention, and so is that of every computed value: absent, or present
    and without a byte.
    """
    buffer = model.buffers[tensor.buffer]
    return bool(buffer.data is not None and len(buffer.data)) or buffer.offset > 1


def _check_graph(model: Any, graph: Any) -> None:
    graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
    for tensor in graph.tensors:
        name_of(tensor)
        if min(shape_of(tensor), default=0) < 0 or tensor.type not in TYPES:
            raise ValueError(f"{name_of(tensor)[:40]!r} is no tensor")
        model.buffers[tensor.buffer]
    for operator in graph.operators:
        model.operatorCodes[operator.opcodeIndex]
        operator.inputs = _indices(operator.inputs, graph, least=-1)  # -1: left out
        operator.outputs = _indices(operator.outputs, graph, least=0)
        if not operator.outputs:
            raise ValueError("an operator makes nothing")
    graph.inputs = _indices(graph.inputs, graph, least=0)
    graph.outputs = _indices(graph.outputs, graph, least=0)


def _indices(values: Any, graph: Any, *, least: int) -> list[int]:
    indices = [] if values is None else np.asarray(values).tolist()
    for index in indices:
        if not least <= index < len(graph.tensors):
            raise ValueError(f"there is no tensor {index}")
    return [int(index) for index in indices]


def _broken(place: str, reason: str) -> InputError:
    return InputError(
        f"{place} is no whole TFLite file ({' '.join(reason.split())}): convert it again"
    )
