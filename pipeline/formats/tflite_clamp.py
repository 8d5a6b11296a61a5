"""Clipping in TFLite: fused into an operator, or operators of their own."""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.graph import Operator

B = schema.BuiltinOperator
Activation = schema.ActivationFunctionType

ACTIVATIONS: dict[tuple[float, float] | None, int] = {  # those of graph.FUSIBLE
    None: Activation.NONE,
    (0.0, math.inf): Activation.RELU,
    (0.0, 6.0): Activation.RELU6,
    (-1.0, 1.0): Activation.RELU_N1_TO_1,
}
CLAMPS: dict[int, tuple[int, int]] = {  # operator, and its version that knows int8
    Activation.RELU: (B.RELU, 2),
    Activation.RELU6: (B.RELU6, 2),
    Activation.RELU_N1_TO_1: (B.RELU_N1_TO_1, 1),
}


def activation(operator: Operator) -> int:
    """What an operator does to its own output."""
    return ACTIVATIONS[operator.clamp]


def append_clamp(draft: TfliteDraft, operator: Operator, source: int, output: int) -> None:
    """RELU, RELU6 or RELU_N1_TO_1; MAXIMUM and MINIMUM for other bounds."""
    assert operator.clamp is not None
    quantization = draft.graph.values[operator.output].quantization
    if operator.clamp in ACTIVATIONS:
        code, int8_version = CLAMPS[ACTIVATIONS[operator.clamp]]
        draft.append(code, [source], output, None, version=int8_version if quantization else 1)
        return
    low, high = operator.clamp if quantization is None else quantization.bounds(operator.clamp)
    steps = [(B.MAXIMUM, "lowest", low)] * math.isfinite(low)
    steps += [(B.MINIMUM, "highest", high)] * math.isfinite(high)
    for i, (code, name, bound) in enumerate(steps):
        last = i == len(steps) - 1
        free = f"{operator.name}.free"
        result = output if last else draft.like(output, free, draft.shape(output))
        data = np.array([bound], np.float32 if quantization is None else np.int8)
        limit = draft.constant_like(output, f"{operator.name}.{name}", data)
        options = schema.MaximumMinimumOptionsT()
        draft.append(code, [source, limit], result, options, version=2 if quantization else 1)
        source = result
