"""Operators that move numbers and change none."""

from __future__ import annotations

import math

import onnx

from edgeticket.pipeline.convert.graph import Operator
from edgeticket.pipeline.convert.operators.kind import Kind
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, append
from edgeticket.pipeline.convert.tflite_draft import TfliteDraft


def _read_reshape(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    shape, target = draft.shape(node.input[0]), draft.shapes[node.output[0]]
    kind = "Flatten" if target == (1, math.prod(shape)) else "Reshape"
    append(draft, node, kind, (node.input[0],))


def flatten(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE; the order of the values becomes that of NHWC."""
    name = operator.inputs[0]
    shape = draft.graph.values[name].shape
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    elif len(shape) == 4 and shape[2:] != (1, 1):
        draft.flattened[operator.output] = shape[1:]
    draft.reshape(draft.value(name), draft.value(operator.output))


READERS: dict[str, Reader] = {"Flatten": _read_reshape, "Reshape": _read_reshape}


KINDS: dict[str, Kind] = {
    "Flatten": Kind(flatten, keeps_codes=True, any_order=True, conditions="Reshape to [1, n]"),
}
