"""The operators of a model file, of either format: what they compute in, on what shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.runtimes.ort import optimise
from edgeticket.pipeline.external.file import ExternalModel
from edgeticket.pipeline.external.onnx_shapes import find_shapes
from edgeticket.pipeline.formats.onnx_model import parse_onnx
from edgeticket.pipeline.formats.tflite_model import (
    is_constant,
    kind_of,
    name_of,
    parse_tflite,
    shape_of,
)

# Kernels that take codes and give real numbers: integer arithmetic all the same.
INTEGER = (
    *("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"),
    *("QAttention", "QMoE", "QEmbed", "QOrdered"),
)
BETWEEN = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Cast", "QUANTIZE", "DEQUANTIZE", "CAST"}
)
# They only move numbers or ask for their shape.
MOVING = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Shape"})
MOVING |= {"Slice", "Gather", "Split", "Expand", "Tile", "Constant", "Concat", "Pad"}
MOVING |= {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "GATHER"}
MOVING |= {"SPLIT", "TILE", "CONCATENATION", "PAD", "PADV2", "SHAPE", "PACK", "UNPACK"}
# Averages read every number once, and give the same of codes and of what these are worth.
AVERAGING = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean", "MEAN", "AVERAGE_POOL_2D"})


@dataclass(frozen=True)
class Copy:
    """A transposition: it computes nothing and copies every number."""

    name: str
    numbers: int
    inner: bool  # neither of the network's inputs nor of its outputs


@dataclass(frozen=True)
class Wide:
    """A convolution or linear layer and its numbers of output channels."""

    name: str
    outputs: int
    inputs: int


def float_operators(file: ExternalModel) -> list[tuple[str, str]]:
    """(name, kind) of what an int8 file computes in float32, as its runtime runs it."""
    if file.runtime == "tflite":
        return _float_tflite(file)
    graph = parse_onnx(optimise(file.data, threads=1, place=file.place), place=file.place).graph
    real = {v.name for v in graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    operators = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" or node.op_type == "MatMulIntegerToFloat":
            real |= set(node.output)
        elif node.op_type.startswith(INTEGER) or node.op_type in BETWEEN:
            continue
        elif any(name in real for name in node.input):
            real |= set(node.output)
            if node.op_type not in MOVING | AVERAGING:
                operators.append((node.name or node.output[0], node.op_type))
    return operators


def _float_tflite(file: ExternalModel) -> list[tuple[str, str]]:
    model = parse_tflite(file.data, place=file.place)
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        kind = kind_of(model, operator)
        taken = [graph.tensors[i] for i in operator.inputs if i >= 0]
        given = [graph.tensors[i] for i in operator.outputs]
        real = [
            tensor.type == schema.TensorType.FLOAT32
            for tensor in (*(t for t in taken if not is_constant(model, t)), *given)
        ]
        if any(real) and kind not in BETWEEN | MOVING | AVERAGING:
            operators.append((name_of(given[0]), kind))
    return operators


def copies(file: ExternalModel) -> list[Copy]:
    """The transpositions that are written in a file."""
    if file.runtime == "tflite":
        model = parse_tflite(file.data, place=file.place)
        graph = model.subgraphs[0]
        ends = {*graph.inputs, *graph.outputs}
        return [
            Copy(
                name_of(graph.tensors[op.outputs[0]]),
                _size(shape_of(graph.tensors[op.outputs[0]])),
                inner=not ends & {op.inputs[0], op.outputs[0]},
            )
            for op in graph.operators
            if kind_of(model, op) == "TRANSPOSE"
            and not is_constant(model, graph.tensors[op.inputs[0]])
        ]
    model = parse_onnx(file.data, place=file.place)
    if all(node.op_type != "Transpose" for node in model.graph.node):
        return []
    shapes = find_shapes(model)
    rounds = ("QuantizeLinear", "DequantizeLinear")
    ends = {v.name for v in (*model.graph.input, *model.graph.output)}
    for nodes, one, other in (
        (model.graph.node, "input", "output"),
        (reversed(model.graph.node), "output", "input"),
    ):
        for node in nodes:  # rounding of an end is the end
            if node.op_type in rounds and getattr(node, one)[0] in ends:
                ends.add(getattr(node, other)[0])
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        Copy(
            node.name or node.output[0],
            _size(shapes.get(node.output[0]) or ()),
            inner=not ends & {node.input[0], node.output[0]},
        )
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] not in constants
    ]


def numbers_computed(file: ExternalModel) -> int:
    """How many numbers all operators of a file write in one query."""
    if file.runtime == "tflite":
        model = parse_tflite(file.data, place=file.place)
        graph = model.subgraphs[0]
        written = [shape_of(graph.tensors[i]) for op in graph.operators for i in op.outputs]
        return sum(map(_size, written))
    model = parse_onnx(file.data, place=file.place)
    shapes = find_shapes(model)
    rounding = ("QuantizeLinear", "DequantizeLinear")
    return sum(
        _size(shapes.get(name) or ())
        for node in model.graph.node
        if node.op_type not in rounding
        for name in node.output
    )


def wide_layers(file: ExternalModel) -> list[Wide]:
    """Convolutions and linear layers with their channels, depthwise ones left out."""
    if file.runtime == "tflite":
        return _wide_tflite(file)
    graph = parse_onnx(file.data, place=file.place).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.output}
    layers = []
    for node in graph.node:
        at = 3 if node.op_type == "QLinearConv" else 1
        if node.op_type not in ("Conv", "QLinearConv", "Gemm") or len(node.input) <= at:
            continue
        name = node.input[at]
        while name in made and made[name].op_type in ("DequantizeLinear", "QuantizeLinear"):
            name = made[name].input[0]
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if name not in constants or options.get("group", 1) != 1:
            continue
        dims = constants[name].dims
        columns = node.op_type == "Gemm" and not options.get("transB", 0)
        outputs, inputs = (dims[1], dims[0]) if columns else (dims[0], dims[1])
        stem = name.removesuffix("_quantized").removesuffix(".weight")
        layers.append(Wide(stem, int(outputs), int(inputs)))
    return layers


def _wide_tflite(file: ExternalModel) -> list[Wide]:
    model = parse_tflite(file.data, place=file.place)
    graph = model.subgraphs[0]
    layers = []
    for operator in graph.operators:
        if kind_of(model, operator) not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        dims = shape_of(graph.tensors[operator.inputs[1]])
        output: Any = graph.tensors[operator.outputs[0]]
        layers.append(Wide(name_of(output), dims[0], dims[-1]))
    return layers


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= int(length or 1)
    return size
