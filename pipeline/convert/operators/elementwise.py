"""Operators on each number by itself: additions and clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Operator
from pipeline.convert.onnx_draft import OnnxDraft
from pipeline.convert.operators import rounding
from pipeline.convert.operators.kind import Kind
from pipeline.convert.operators.reading import Draft, Reader, append
from pipeline.convert.tflite_clamp import activation, append_clamp
from pipeline.convert.tflite_draft import TfliteDraft

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
    left, right = operator.inputs
    values = draft.graph.values
    if left not in values or right not in values or values[left].shape != values[right].shape:
        raise InputError(f"{operator}: only two tensors of one shape can be added")
    if draft.flattened.get(left) != draft.flattened.get(right):
        raise InputError(
            f"{operator} adds a flattened map to another vector; add before flattening"
        )
    if left in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[left]
    options = schema.AddOptionsT()
    options.fusedActivationFunction = activation(operator)
    inputs, output = [draft.value(left), draft.value(right)], draft.value(operator.output)
    draft.append(B.ADD, inputs, output, options, version=draft.version(operator, int8=2))


def clip(draft: TfliteDraft, operator: Operator) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 on their own."""
    name = operator.inputs[0]
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    append_clamp(draft, operator, draft.value(name), draft.value(operator.output))


def write_clip(draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str) -> None:
    """Relu or Clip on real numbers, Clip on codes."""
    assert operator.clamp is not None
    quantization = draft.graph.values[operator.output].quantization
    if quantization is None:
        draft.clip(inputs[0], operator.clamp, output)
    else:
        draft.clip_codes(inputs[0], operator.clamp, quantization, output)


READERS: dict[str, Reader] = {"Clip": _read_clip, "Relu": _read_relu}

KINDS: dict[str, Kind] = {
    "Add": Kind(addition, clips=True),
    "Clip": Kind(clip, write_clip, keeps_codes=True),
}
