"""Model files that other tools made: what they take and give, read from the files themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CODE_RANGES, TensorSpec
from edgeticket.device_runner.manifest import DTYPES as RUNNABLE
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Port
from edgeticket.pipeline.external.layers import Count, total
from edgeticket.pipeline.external.onnx_cost import onnx_layers
from edgeticket.pipeline.external.tflite_cost import tflite_layers
from edgeticket.pipeline.formats.onnx_model import constants_of, parse_onnx, read_file, read_onnx
from edgeticket.pipeline.formats.tflite_model import (
    is_constant,
    kind_of,
    name_of,
    parse_tflite,
    shape_of,
)

DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.BOOL: "bool",
}
# Where a node has scale and zero point of what it reads, or of what it makes.
READS = {"DequantizeLinear": 1, "QLinearConv": 1, "QLinearMatMul": 1, "QGemm": 1}
MAKES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6}
MAKES |= {"QLinearGlobalAveragePool": 3, "QLinearSoftmax": 3, "QLinearSigmoid": 3}
# What only moves codes, the first input's.
MOVES = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"})
MOVES |= {"Slice", "Gather", "Split", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "MaxPool"}
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
QUANTISED = ("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class ExternalModel:
    """A model file that a runtime here loads; the batch is fixed to 1.

    Layouts are `plain` until `pipeline.external.ends` knows them.
    """

    place: str
    data: bytes
    runtime: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Count
    macs: Count
    limits: Mapping[str, int]  # by input: its whole numbers are below that, as indices of a table


def read_external(file: Path) -> ExternalModel:
    """A .onnx or .tflite file -> what a bundle says of it.

    Raises:
        InputError: another kind of file, damaged, or one that a bundle cannot hold.
    """
    if file.suffix == ".pt2":
        raise InputError(
            f"{file} is a program of torch.export, which no runtime on a device takes: a recipe "
            f"with `model: {{pt2: {file}}}` makes files of it, and their bundle"
        )
    if file.suffix not in READERS:
        raise InputError(f"{file}: give a file that ends in {' or '.join(READERS)}")
    return READERS[file.suffix](file, str(file))


def _read_onnx(file: Path, place: str) -> ExternalModel:
    data = read_onnx(file)
    model = parse_onnx(data, place=place)
    graph = model.graph
    constants = constants_of(graph)
    inputs = [value for value in graph.input if value.name not in constants]
    for node in graph.node:
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"{place}: {node.name or node.op_type} ({node.op_type}) is control flow, which "
                "runtimes on devices do not have: export it traced, without branches and loops"
            )
    for values, what in ((inputs, "input"), (graph.output, "output")):
        for value in values:
            code = value.type.tensor_type.elem_type
            named = f"{place}: the {what}" + f" {value.name}" * (len(values) > 1)
            _check_dtype(DTYPES.get(code, f"of ONNX's type {code}"), named)
    if _fix_batch(inputs, place) | _fix_batch(graph.output, place, sizes_may_be_open=True):
        del graph.value_info[:]
        data = model.SerializeToString(deterministic=True)
    session = get_runtime("ort").load(data, threads=1, place=place)
    readers = {name: node for node in reversed(graph.node) for name in node.input}
    makers = {name: node for node in graph.node for name in node.output}
    ends = [
        _spec(
            name, port, onnx_scale(_reader(name, readers), READS, constants), f"{place}: the input"
        )
        for name, port in session.inputs.items()
    ]
    answers = [
        _spec(name, port, _scale_made(name, makers, constants), f"{place}: the output")
        for name, port in session.outputs.items()
    ]
    layers = onnx_layers(model)
    parameters, macs = total([n.parameters for n in layers]), total([n.macs for n in layers])
    quantised = any(node.op_type.startswith(QUANTISED) for node in graph.node)
    precision = "int8" if quantised else "fp32"
    limits = {
        name: int(constants[node.input[0]].dims[0])
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in constants and constants[node.input[0]].dims
        for name in [_behind_casts(node.input[1], makers)]
        if name in session.inputs
    }
    return ExternalModel(
        place, data, "ort", precision, tuple(ends), tuple(answers), parameters, macs, limits
    )


def _reader(name: str, readers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """What reads an input, behind what only moves its codes."""
    node, steps = readers.get(name), 0
    while node is not None and node.op_type in MOVES and steps < len(readers):
        node, steps = readers.get(node.output[0]), steps + 1
    return node


def _scale_made(
    name: str,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
) -> tuple[float, int] | None:
    """Scale and zero point of an output, of what makes it before its codes were only moved.

    Codes that are joined have one if all have the same.
    """
    waiting, seen = [name], {name}
    scales: set[tuple[float, int] | None] = set()
    while waiting:
        node = makers.get(waiting.pop())
        joined = node is not None and node.op_type == "Concat"
        if node is None or not (joined or node.op_type in MOVES):
            scales.add(onnx_scale(node, MAKES, constants))
            continue
        before = [one for one in (node.input if joined else node.input[:1]) if one not in seen]
        waiting += before
        seen.update(before)
    return scales.pop() if len(scales) == 1 else None


def _behind_casts(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    while name in makers and makers[name].op_type in ("Cast", "Reshape", "Squeeze", "Unsqueeze"):
        name = makers[name].input[0]
    return name


def _fix_batch(
    values: Sequence[onnx.ValueInfoProto], place: str, *, sizes_may_be_open: bool = False
) -> bool:
    """Open batches become 1 -> whether there was one."""
    changed = False
    for value in values:
        for i, size in enumerate(value.type.tensor_type.shape.dim):
            if size.HasField("dim_value") and size.dim_value > 0:
                continue
            if i > 0 and sizes_may_be_open:
                continue
            if i > 0:
                shown = size.dim_param or "?"
                raise InputError(
                    f"{place}: {value.name} leaves its size {i} open ({shown}): export it with "
                    "fixed sizes"
                )
            size.dim_value = 1
            changed = True
    return changed


def onnx_scale(
    node: onnx.NodeProto | None,
    where: Mapping[str, int],
    constants: Mapping[str, onnx.TensorProto],
) -> tuple[float, int] | None:
    if node is None or node.op_type not in where:
        return None
    at = where[node.op_type]
    names = [*node.input[at : at + 2], ""][:2]
    if names[0] not in constants:
        return None
    scale = numpy_helper.to_array(constants[names[0]]).reshape(-1)
    zero = numpy_helper.to_array(constants[names[1]]).reshape(-1) if names[1] in constants else [0]
    return (float(scale[0]), int(zero[0])) if len(scale) == 1 else None


def _read_tflite(file: Path, place: str) -> ExternalModel:
    data = read_file(file)
    model = parse_tflite(data, place=place)
    session = get_runtime("tflite").load(data, threads=1, place=place)
    graph = model.subgraphs[0]
    layers = tflite_layers(model)
    parameters, macs = total([n.parameters for n in layers]), total([n.macs for n in layers])
    codes = (schema.TensorType.INT8, schema.TensorType.UINT8)
    precision = "int8" if any(t.type in codes for t in graph.tensors) else "fp32"

    def specs(ports: Mapping[str, Port], what: str) -> tuple[TensorSpec, ...]:
        return tuple(
            _spec(name, port, _scale_of(port), f"{place}: the {what}")
            for name, port in ports.items()
        )

    limits = _table_sizes(model, graph)
    return ExternalModel(
        place,
        data,
        "tflite",
        precision,
        specs(session.inputs, "input"),
        specs(session.outputs, "output"),
        parameters,
        macs,
        {name: limits[name] for name in session.inputs if name in limits},
    )


def _table_sizes(model: Any, graph: Any) -> dict[str, int]:
    """Inputs that are indices of a stored table -> how many entries that has."""
    source: dict[int, int] = {}
    limits: dict[str, int] = {}
    for operator in graph.operators:
        kind, inputs = kind_of(model, operator), list(operator.inputs)
        if kind in ("CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS") and inputs:
            # What was cast already leads on to where that came from, so that nothing goes round.
            source[operator.outputs[0]] = source.get(inputs[0], inputs[0])
        if kind not in ("GATHER", "EMBEDDING_LOOKUP") or len(inputs) < 2:
            continue
        table, index = inputs[:2] if kind == "GATHER" else inputs[1::-1]
        index = source.get(index, index)
        if is_constant(model, graph.tensors[table]) and shape_of(graph.tensors[table]):
            limits[name_of(graph.tensors[index])] = shape_of(graph.tensors[table])[0]
    return limits


def _scale_of(port: Port) -> tuple[float, int] | None:
    if port.scale is None or port.zero_point is None:
        return None
    return port.scale, port.zero_point


def _spec(name: str, port: Port, scale: tuple[float, int] | None, place: str) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else 1 for size in port.shape)
    _check_dtype(port.dtype, place)
    if port.dtype not in CODE_RANGES:
        scale = None
    low = None if scale is None else scale[1]
    real = None if scale is None else float(np.float32(scale[0]))
    return TensorSpec(name, shape, port.dtype, "plain", real, low)


def _check_dtype(dtype: str, place: str) -> None:
    if dtype not in RUNNABLE:
        raise InputError(
            f"{place} is {dtype}, which bundles cannot hold: let it be one of {', '.join(RUNNABLE)}"
        )


READERS = {".onnx": _read_onnx, ".tflite": _read_tflite}
