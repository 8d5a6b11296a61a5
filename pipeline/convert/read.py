"""ONNX bytes -> `Graph`. Everything about the file is checked here, so that nobody else need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import OPSET, Array, Graph
from edgeticket.pipeline.operators import KINDS, ONNX

MOST_NUMBERS = 2**31 - 1  # TFLite counts in int32
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, OverflowError, ZeroDivisionError)
TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
TYPES |= {onnx.TensorProto.INT32: "int64"}
CODES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})


def read_graph(data: bytes) -> Graph:
    """Read and check an ONNX file with fixed shapes and a batch of one.

    What QuantizeLinear and DequantizeLinear say is in the graph's values and constants; they
    themselves are gone.

    Raises:
        InputError: the file is damaged, or holds something that cannot be converted.
    """
    model = _parse(data)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions != [OPSET]:
        raise InputError(f"the ONNX file is of operator set {versions}; export with {OPSET}")
    return graph_of(model)


def graph_of(model: onnx.ModelProto) -> Graph:
    """A checked model of fixed sizes and of operator set `OPSET` -> its graph.

    Raises:
        InputError: it holds something that cannot be converted.
    """
    draft = Draft(KINDS)
    names: dict[str, Any] = {"": ""}  # ONNX value -> name in the draft, or None
    for tensor in model.graph.initializer:
        names[tensor.name] = draft.constant(read_array(tensor), tensor.name)
    inputs = [value for value in model.graph.input if value.name not in names]
    for value in inputs:
        shape = _shape(value)
        if not shape or shape[0] != 1:
            raise InputError(
                f"input {value.name} has shape {list(shape)}; export with a batch of 1"
            )
        code = value.type.tensor_type.elem_type
        names[value.name], draft.shapes[value.name] = value.name, shape
        if code in CODES:
            draft.inputs_of_codes.add(value.name)
        elif code not in TYPES:
            raise InputError(f"input {value.name} is not float32; give the file as it was exported")
        elif TYPES[code] != "float32":
            draft.dtypes[value.name] = TYPES[code]
    for index, node in enumerate(model.graph.node):
        _read_node(draft, names, node, index)
    for name in draft.inputs_of_codes - draft.scales.keys():
        raise InputError(f"input {name} is codes without a scale; let DequantizeLinear read it")
    outputs = []
    for value in model.graph.output:
        found = names.get(value.name)
        if not isinstance(found, str) or found in draft.constants:
            raise InputError(f"output {value.name} does not follow from the input; leave it out")
        outputs.append(found)
    return _named(draft, [value.name for value in inputs], outputs, model)


def _read_node(draft: Draft, names: dict[str, Any], node: onnx.NodeProto, index: int) -> None:
    draft.label = f"{node.name or f'node {index}'} ({node.op_type})"
    if node.domain not in ("", "ai.onnx"):
        raise InputError(f"{draft.label} is of {node.domain}; use standard ONNX operators only")
    if node.op_type == "Constant":
        (attribute,) = node.attribute
        if attribute.name != "value":
            raise InputError(f"{draft.label}: {attribute.name} cannot be converted; give a tensor")
        names[node.output[0]] = draft.constant(read_array(attribute.t), node.output[0])
        return
    reader = ONNX.get(node.op_type)
    if reader is None:
        raise InputError(
            f"{draft.label} has no counterpart here; replace it by one of {', '.join(sorted(ONNX))}"
        )
    draft.step = draft.unique(node.name or node.output[0])
    draft.result = draft.unique(node.output[0])
    draft.origin, draft.open_axes = (), None
    try:
        sources = [names[name] for name in node.input]
        if None in sources:
            raise draft.refuse("reads an output that cannot be converted; leave it out")
        found = reader(draft, *sources, **attributes(node))
    except UNREADABLE as error:  # ONNX's own checker does not look at values
        raise InputError(
            f"{draft.label} is not as ONNX defines it ({type(error).__name__}: {error}); "
            "export it again"
        ) from None
    results = [found] if isinstance(found, str) else list(found)
    results += [None] * (len(node.output) - len(results))  # what cannot be had
    names.update(zip(node.output, results, strict=True))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as values of Python, texts as text."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _named(draft: Draft, inputs: list[str], outputs: list[str], model: onnx.ModelProto) -> Graph:
    """The finished graph, its outputs called as in the file."""
    graph = draft.finish(inputs, outputs)
    for value in graph.values.values():
        if math.prod(value.shape) > MOST_NUMBERS:
            raise InputError(f"{value.name} has shape {list(value.shape)}, which no device holds")
    renamed: dict[str, str] = {}
    for name, value in zip(graph.outputs, model.graph.output, strict=True):
        if name in renamed or name in inputs:
            raise InputError(f"output {value.name} is an input, or another output; leave it out")
        renamed[name] = value.name
    if len({op.name for op in graph.operators}) < len(graph.operators):
        raise InputError("operators of the ONNX file share a name; name each of them")
    return rename(graph, {old: new for old, new in renamed.items() if old != new})


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with values called otherwise; whoever has the new name already gives way."""
    taken = set(names.values()) & graph.values.keys() - names.keys()
    names = {**names, **{name: f"{name}.inner" for name in taken}}

    def new(name: str) -> str:
        return names.get(name, name)

    operators = [
        replace(op, inputs=tuple(map(new, op.inputs)), output=new(op.output))
        for op in graph.operators
    ]
    return replace(
        graph,
        inputs=tuple(map(new, graph.inputs)),
        outputs=tuple(map(new, graph.outputs)),
        operators=tuple(operators),
        values={new(n): replace(v, name=new(n)) for n, v in graph.values.items()},
    )


def read_array(tensor: onnx.TensorProto) -> Array:
    """The numbers of a stored tensor; real ones are finite float32."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{tensor.name} lies in another file; export with the weights inside")
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{tensor.name} cannot be read ({error}); export it again") from None
    if array.dtype.kind not in "iub" and array.dtype != np.float32:
        raise InputError(f"{tensor.name} is {array.dtype}; store numbers as float32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{tensor.name} holds NaN or infinity; check how it was trained")
    return array


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
        _check_names(model)
        onnx.checker.check_model(model)
    except DecodeError:
        raise InputError(f"{len(data)} bytes are not a whole ONNX file; export it again") from None
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the ONNX file is not valid ({reason}); export it again") from None
    return model


def _check_names(model: onnx.ModelProto) -> None:
    """Protobuf hands out damaged text as bytes, and fails only where somebody writes it."""
    for node in model.graph.node:
        for name in (node.name, *node.input, *node.output):
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is no text")


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    if not all(d.HasField("dim_value") and d.dim_value > 0 for d in dimensions):
        shown = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]
        raise InputError(f"{value.name} has shape {shown}; export with fixed sizes")
    shape = tuple(d.dim_value for d in dimensions)
    if math.prod(shape) > MOST_NUMBERS:
        raise InputError(f"{value.name} has shape {list(shape)}, which no device holds")
    return shape
