"""Operators on each number by itself: additions, products, clipping, gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.graph import Operator, Value
from edgeticket.pipeline.convert.onnx_draft import OnnxDraft
from edgeticket.pipeline.convert.operators import rounding
from edgeticket.pipeline.convert.operators.kind import Kind, Substitution
from edgeticket.pipeline.convert.operators.layers import constant_depthwise
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append, attributes
from edgeticket.pipeline.convert.tflite_clamp import activation, append_clamp
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft

B = schema.BuiltinOperator


def _read_relu(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    append(draft, node, "Clip", (node.input[0],), clamp=(0.0, math.inf))


def _read_clip(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    bounds = [-math.inf, math.inf]
    for index in (1, 2):
        if index < len(node.input) and node.input[index]:
            bounds[index - 1] = float(draft.constant(node, index, label).data)
    if bounds == [-math.inf, math.inf]:
        rounding.read_identity(draft, node, label)
    else:
        append(draft, node, "Clip", (node.input[0],), clamp=(bounds[0], bounds[1]))


def addition(draft: TfliteDraft, operator: Operator) -> None:
    """ADD of two values of one shape."""
    left, right = _two_values(draft, operator)
    values = draft.graph.values
    if values[left].shape != values[right].shape:
        raise InputError(f"{operator}: only two tensors of one shape can be added")
    if draft.flattened.get(left) != draft.flattened.get(right):
        raise InputError(
            f"{operator} adds a flattened map to another vector; add before flattening"
        )
    if left in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[left]
    _two_sided(draft, operator, B.ADD, schema.AddOptionsT())


def product(draft: TfliteDraft, operator: Operator) -> None:
    """MUL of two values, one of which may have axes of size 1 (squeeze-and-excitation)."""
    left, right = _two_values(draft, operator)
    values = draft.graph.values
    if len(values[left].shape) != len(values[right].shape):
        raise InputError(f"{operator}: only two tensors of one rank can be multiplied")
    _two_sided(draft, operator, B.MUL, schema.MulOptionsT())


def _two_values(draft: TfliteDraft, operator: Operator) -> tuple[str, str]:
    left, right = operator.inputs
    if left not in draft.graph.values or right not in draft.graph.values:
        raise InputError(
            f"{operator} has a constant operand; put it into the weights of a layer beside it"
        )
    return left, right


def _two_sided(draft: TfliteDraft, operator: Operator, code: int, options: Any) -> None:
    options.fusedActivationFunction = activation(operator)
    inputs, output = [draft.value(n) for n in operator.inputs], draft.value(operator.output)
    draft.append(code, inputs, output, options, version=draft.version(operator, int8=2))


def hard_sigmoid(draft: TfliteDraft, operator: Operator) -> None:
    """relu6(x + 3) / 6, as ADD and MUL."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    shifted = draft.like(output, f"{operator.name}.shifted", draft.shape(output))
    three = draft.constant(f"{operator.name}.three", np.array([3], np.float32))
    sixth = draft.constant(f"{operator.name}.sixth", np.array([1 / 6], np.float32))
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    draft.append(B.ADD, [source, three], shifted, options, version=1)
    draft.append(B.MUL, [shifted, sixth], output, schema.MulOptionsT(), version=1)


def _hard_sigmoid_as_convolution(operator: Operator, source: Value, output: Value) -> Substitution:
    """a depthwise convolution x/6 + 1/2, which saturates at the codes of 0 and 1."""
    operator = replace(operator, clamp=(0.0, 1.0))
    return constant_depthwise(operator, source, output, weight=1 / 6, bias=0.5)


def hard_swish(draft: TfliteDraft, operator: Operator) -> None:
    """HARD_SWISH."""
    source, output = draft.value(operator.inputs[0]), draft.value(operator.output)
    draft.append(B.HARD_SWISH, [source], output, schema.HardSwishOptionsT(), version=1)


def clip(draft: TfliteDraft, operator: Operator) -> None:
    """RELU, RELU6 or RELU_N1_TO_1, or MAXIMUM and MINIMUM for other bounds."""
    name = operator.inputs[0]
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    append_clamp(draft, operator, draft.value(name), draft.value(operator.output))


def _read_hard_sigmoid(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    given = {"alpha": 0.2, "beta": 0.5} | attributes(node)
    if not np.allclose((given["alpha"], given["beta"]), (1 / 6, 0.5)):
        raise InputError(f"{label} has {given}; only relu6(x + 3) / 6 can be converted")
    append(draft, node, "HardSigmoid", tuple(node.input), given)


def write_clip(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Relu or Clip on real numbers, Clip on codes."""
    assert operator.clamp is not None
    quantization = draft.graph.values[operator.output].quantization
    if quantization is None:
        draft.clip(inputs[0], operator.clamp, output)
    else:
        draft.clip_codes(inputs[0], operator.clamp, quantization, output)


READERS: dict[str, Reader] = {
    "Clip": _read_clip,
    "HardSigmoid": _read_hard_sigmoid,
    "Relu": _read_relu,
}

KINDS: dict[str, Kind] = {
    "Add": Kind(addition, clips=True, any_order=True, conditions="two tensors of one shape"),
    "Clip": Kind(clip, write_clip, keeps_codes=True, any_order=True, conditions="Relu likewise"),
    "HardSigmoid": Kind(
        hard_sigmoid,
        rounded=_hard_sigmoid_as_convolution,
        conditions="relu6(x + 3) / 6; int8: [1, C, H, W] or [1, C]",
    ),
    "HardSwish": Kind(
        hard_swish,
        conditions="x · HardSigmoid(x), which int8 files keep as it is: the kernels round alike",
    ),
    "Mul": Kind(product, clips=True, conditions="two tensors; axes of size 1 are repeated"),
}
