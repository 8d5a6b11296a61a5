"""Operators that move numbers and change none."""

from __future__ import annotations

import math

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from device_runner.errors import InputError
from pipeline.convert.graph import Operator
from pipeline.convert.operators.kind import Kind
from pipeline.convert.operators.reading import Draft, Reader, append
from pipeline.convert.tflite_draft import TfliteDraft

B = schema.BuiltinOperator


def _read_reshape(draft: Draft, node: onnx.NodeProto, label: str) -> None:
    shape, target = draft.shape(node.input[0]), draft.shapes[node.output[0]]
    flat = target == (1, math.prod(shape))
    append(draft, node, "Flatten" if flat else "Reshape", (node.input[0],))


def flatten(draft: TfliteDraft, operator: Operator) -> None:
    """RESHAPE; the order of the values becomes that of NHWC."""
    name = operator.inputs[0]
    shape = draft.graph.values[name].shape
    if name in draft.flattened:
        draft.flattened[operator.output] = draft.flattened[name]
    elif len(shape) == 4 and shape[2:] != (1, 1):
        draft.flattened[operator.output] = shape[1:]
    source, output = draft.value(name), draft.value(operator.output)
    target = np.array(draft.shape(output), np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = target
    inputs = [source, draft.constant(f"{operator.output}.shape", target)]
    draft.append(B.RESHAPE, inputs, output, options, version=1)


READERS: dict[str, Reader] = {"Flatten": _read_reshape, "Reshape": _read_reshape}

KINDS: dict[str, Kind] = {"Flatten": Kind(flatten, keeps_codes=True)}
