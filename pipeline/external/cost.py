"""What model files of other tools hold and cost, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from ai_edge_litert import schema_py_generated as schema

# ONNX operators: which input is the weight of what is multiplied and added up.
WEIGHTS = {"Conv": 1, "Gemm": 1, "MatMul": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
WEIGHTS |= {"ConvInteger": 1, "MatMulInteger": 1}
# Where a node has scale and zero point of what it reads, or of what it makes.
READS = {"DequantizeLinear": 1, "QLinearConv": 1, "QLinearMatMul": 1, "QGemm": 1}
MAKES = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6}
MAKES |= {"QLinearGlobalAveragePool": 3, "QLinearSoftmax": 3, "QLinearSigmoid": 3}
BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}


@dataclass(frozen=True)
class FileLayer:
    """One operator of a file that stores weights or multiplies."""

    name: str
    kind: str
    parameters: int
    macs: int


def onnx_layers(
    model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[FileLayer, ...]:
    """Stored weights, each once, and multiply-accumulates as far as shapes are known; of one
    example where the batch is open."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {t.name: tuple(t.dims) for t in constants.values()}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        shapes[value.name] = tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
    scales: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales |= set(node.input[1:])
        elif node.op_type in MAKES:
            scales |= {n for i, n in enumerate(node.input) if n in constants and i in (1, 2, 4, 5)}
    # Whole numbers of 64 bits are shapes and axes.
    waiting = {
        name: math.prod(tensor.dims)
        for name, tensor in constants.items()
        if tensor.dims and name not in scales and tensor.data_type != onnx.TensorProto.INT64
    }
    layers = []
    for node in model.graph.node:
        macs, at = 0, WEIGHTS.get(node.op_type)
        if at is not None and node.input[at] in shapes:
            weight, output = shapes[node.input[at]], shapes.get(node.output[0], ())
            if node.op_type.endswith(("Conv", "ConvInteger")):
                macs = math.prod(output) * math.prod(weight[1:])
            else:  # of a vector where shapes are unknown, as behind operators that are no standard
                macs = math.prod(output[:-1]) * math.prod(weight)
        own = sum(waiting.pop(name, 0) for name in node.input)
        if own or macs:
            layers.append(FileLayer(node.name or node.output[0], node.op_type, own, macs))
    if waiting:
        layers.append(FileLayer("(read by nothing here)", "", sum(waiting.values()), 0))
    return tuple(layers)


def tflite_layers(model: Any) -> tuple[FileLayer, ...]:
    """Of the first subgraph of a `schema.ModelT`; each stored tensor once."""
    graph = model.subgraphs[0]
    waiting = {
        i: math.prod(shape_of(tensor))
        for i, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None
    }
    layers = []
    for op in graph.operators:
        macs = _tflite_macs(model, op, graph.tensors)
        own = sum(waiting.pop(int(i), 0) for i in op.inputs)
        if own or macs:
            name = graph.tensors[op.outputs[0]].name.decode()
            layers.append(FileLayer(name, tflite_kind(model, op), own, macs))
    return tuple(layers)


def tflite_kind(model: Any, op: Any) -> str:
    """The name of an operator, of its own if it is a custom one."""
    code = model.operatorCodes[op.opcodeIndex]
    if code.customCode:
        return str(code.customCode.decode())
    return str(BUILTINS[max(code.builtinCode, code.deprecatedBuiltinCode)])


def _tflite_macs(model: Any, op: Any, tensors: Any) -> int:
    kind = tflite_kind(model, op)
    output = math.prod(shape_of(tensors[op.outputs[0]]))
    if kind in ("CONV_2D", "FULLY_CONNECTED"):
        return output * math.prod(shape_of(tensors[op.inputs[1]])[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return output * math.prod(shape_of(tensors[op.inputs[1]])[1:3])
    return 0


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Of a `schema.TensorT`."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
