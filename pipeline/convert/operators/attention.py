"""What transformers compute between their linear layers; always in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Constant, Operator
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.operators.kind import Kind
from edgeticket.pipeline.convert.operators.reading import (
    Draft,
    Reader,
    append,
    attributes,
    read_other,
)
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft

B = schema.BuiltinOperator


def _read_matmul(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """A product with a constant matrix is a linear layer; its bias may follow (`fuse_biases`)."""
    name = node.input[1]
    if name in draft.constants and draft.constants[name].scale is None:
        weight = draft.constants[name].data
        if weight.ndim == 2:
            draft.transposes[name] = f"{node.output[0]}.weight"
            draft.constants[draft.transposes[name]] = Constant(np.ascontiguousarray(weight.T))
    if name in draft.transposes:
        append(draft, node, "Gemm", (node.input[0], draft.transposes[name]), {"transB": 1})
    elif name in draft.constants:
        raise InputError(f"{label}: its second factor must be a matrix; use a linear layer")
    else:
        read_other(draft, node, label)


def _read_last_axis(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """LayerNormalization or Softmax."""
    rank = len(draft.shape(node.input[0]))
    given = {"axis": -1} | attributes(node)
    if given["axis"] % rank != rank - 1:
        raise InputError(f"{label} works along axis {given['axis']} of {rank}; only the last can")
    if node.op_type == "LayerNormalization":
        given = {"epsilon": 1e-5} | given
        for index in range(1, len(node.input)):
            draft.constant(node, index, label)
    append(draft, node, node.op_type, tuple(node.input), given)


def _read_gelu(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    append(draft, node, "Gelu", tuple(node.input), {"approximate": b"none"} | attributes(node))


def _read_two_sided(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    """Add or Mul; with a constant it is an operator of its own, which is never rounded."""
    constants = [name for name in node.input if name in draft.constants]
    if not constants:
        read_other(draft, node, label)
        return
    (value,) = (name for name in node.input if name not in draft.constants)
    if draft.shape(value) != draft.shapes[node.output[0]]:
        raise InputError(f"{label}: its constant has more axes than {value}; give it the same")
    append(draft, node, f"{node.op_type}Constant", (value, constants[0]))


def matrix_product(draft: TfliteDraft, operator: Operator) -> None:
    """BATCH_MATMUL; the second factor is read transposed where it is stored so."""
    left, right = operator.inputs
    rank = len(draft.graph.values[right].shape)
    if len(draft.graph.values[left].shape) != rank:
        raise InputError(f"{operator}: both factors must have the same number of axes")
    usual = tuple(range(rank))
    options = schema.BatchMatMulOptionsT()
    options.adjY = draft.order(right)[-1] == rank - 2
    second = draft.ordered(right, (*usual[:-2], rank - 1, rank - 2) if options.adjY else usual)
    inputs = [draft.ordered(left, usual), second]
    output = draft.ordered(operator.output, usual)
    draft.append(B.BATCH_MATMUL, inputs, output, options, version=1)


def softmax(draft: TfliteDraft, operator: Operator) -> None:
    """SOFTMAX."""
    source, output = _last_axis_last(draft, operator)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    draft.append(B.SOFTMAX, [source], output, options, version=1)


def layer_norm(draft: TfliteDraft, operator: Operator) -> None:
    """(x − mean) · rsqrt(mean((x − mean)²) + ε) · scale + bias, an operator for each."""
    source, output = _last_axis_last(draft, operator)
    shape = draft.shape(source)
    column = (*shape[:-1], 1)

    def step(
        code: int, inputs: list[int], label: str, shape: tuple[int, ...], options: object = None
    ) -> int:
        result = output if not label else draft.like(source, f"{operator.name}.{label}", shape)
        draft.append(code, inputs, result, options, version=1)
        return result

    def number(label: str, data: object) -> int:
        return draft.constant(f"{operator.name}.{label}", np.asarray(data))

    over = schema.ReducerOptionsT()
    over.keepDims = True
    axis = number("axis", np.array([len(shape) - 1], np.int32))
    epsilon = number("epsilon", np.array([operator.attributes["epsilon"]], np.float32))
    mean = step(B.MEAN, [source, axis], "mean", column, over)
    centred = step(B.SUB, [source, mean], "centred", shape, schema.SubOptionsT())
    squares = step(B.MUL, [centred, centred], "squares", shape, schema.MulOptionsT())
    variance = step(B.MEAN, [squares, axis], "variance", column, over)
    positive = step(B.ADD, [variance, epsilon], "positive", column, schema.AddOptionsT())
    factor = step(B.RSQRT, [positive], "factor", column)
    result = step(B.MUL, [centred, factor], "normal", shape, schema.MulOptionsT())
    affine = [(B.MUL, "scale", schema.MulOptionsT()), (B.ADD, "bias", schema.AddOptionsT())]
    names = operator.inputs[1:]
    for i, (name, (code, label, options)) in enumerate(zip(names, affine, strict=False)):
        constant = number(label, draft.graph.constants[name].data)
        last = i == len(names) - 1
        result = step(code, [result, constant], "" if last else "scaled", shape, options)


def gelu(draft: TfliteDraft, operator: Operator) -> None:
    """GELU, exact or with tanh."""
    (name,) = operator.inputs
    source, output = draft.stored(name), draft.ordered(operator.output, draft.order(name))
    options = schema.GeluOptionsT()
    options.approximate = operator.attributes["approximate"] == b"tanh"
    draft.append(B.GELU, [source], output, options, version=1)


def add_constant(draft: TfliteDraft, operator: Operator) -> None:
    """ADD of numbers that are stored in the file, such as learned positions."""
    _with_constant(draft, operator, B.ADD, schema.AddOptionsT())


def multiply_constant(draft: TfliteDraft, operator: Operator) -> None:
    """MUL by numbers that are stored in the file."""
    _with_constant(draft, operator, B.MUL, schema.MulOptionsT())


def _with_constant(draft: TfliteDraft, operator: Operator, code: int, options: object) -> None:
    name, constant = operator.inputs
    order = draft.order(name)
    data = draft.graph.constants[constant].data
    if data.size > 1:
        data = data.reshape((1,) * (len(order) - data.ndim) + data.shape).transpose(order)
    inputs = [draft.stored(name), draft.constant(f"{operator.name}.constant", data)]
    draft.append(code, inputs, draft.ordered(operator.output, order), options, version=1)


def write_constant(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """Add or Mul."""
    draft.node(operator.kind.removesuffix("Constant"), inputs, output)


def write_mean(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """ReduceMean."""
    attributes = {"keepdims": operator.attributes["keepdims"]}
    axes = draft.integers(operator.attributes["axes"])
    draft.node("ReduceMean", [inputs[0], axes], output, attributes)


def mean(draft: TfliteDraft, operator: Operator) -> None:
    """MEAN over any axes."""
    (name,) = operator.inputs
    usual = tuple(range(len(draft.graph.values[name].shape)))
    output_rank = len(draft.graph.values[operator.output].shape)
    options = schema.ReducerOptionsT()
    options.keepDims = output_rank == len(usual)
    axes = draft.constant(f"{operator.name}.axes", np.array(operator.attributes["axes"], np.int32))
    inputs = [draft.ordered(name, usual), axes]
    output = draft.ordered(operator.output, tuple(range(output_rank)))
    draft.append(B.MEAN, inputs, output, options, version=1)


def _last_axis_last(draft: TfliteDraft, operator: Operator) -> tuple[int, int]:
    """Input and output stored in any order that ends with the last axis."""
    name = operator.inputs[0]
    order = draft.order(name)
    if order[-1] != len(order) - 1:
        order = tuple(range(len(order)))
    return draft.ordered(name, order), draft.ordered(operator.output, order)


READERS: dict[str, Reader] = {
    "Add": _read_two_sided,
    "Gelu": _read_gelu,
    "LayerNormalization": _read_last_axis,
    "MatMul": _read_matmul,
    "Mul": _read_two_sided,
    "Softmax": _read_last_axis,
}

KINDS: dict[str, Kind] = {
    "AddConstant": Kind(add_constant, write_constant, real=True, conditions="Add of a constant"),
    "Gelu": Kind(gelu, real=True, conditions="exact or with tanh"),
    "LayerNormalization": Kind(layer_norm, real=True, conditions="last axis"),
    "MatMul": Kind(
        matrix_product, real=True, conditions="of two values; with a constant matrix it is a Gemm"
    ),
    "Mean": Kind(mean, write_mean, real=True, conditions="ReduceMean of any axes"),
    "MulConstant": Kind(
        multiply_constant, write_constant, real=True, conditions="Mul with a constant"
    ),
    "Softmax": Kind(softmax, real=True, conditions="last axis"),
}
