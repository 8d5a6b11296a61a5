"""From codes to real numbers and back, inside a graph (`pipeline.convert.qdq_insertion`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.formats.onnx_draft import OnnxDraft
from edgeticket.pipeline.formats.tflite_draft import TfliteDraft
from edgeticket.pipeline.graph.graph import Operator
from edgeticket.pipeline.operators.kind import Kind, Role

B = schema.BuiltinOperator


def quantize(draft: TfliteDraft, operator: Operator) -> None:
    """QUANTIZE."""
    source, output = _same_order(draft, operator)
    draft.append(B.QUANTIZE, [source], output, schema.QuantizeOptionsT(), version=1)


def dequantize(draft: TfliteDraft, operator: Operator) -> None:
    """DEQUANTIZE."""
    source, output = _same_order(draft, operator)
    draft.append(B.DEQUANTIZE, [source], output, schema.DequantizeOptionsT(), version=2)


def _same_order(draft: TfliteDraft, operator: Operator) -> tuple[int, int]:
    (name,) = operator.inputs
    return draft.stored(name), draft.ordered(operator.output, draft.order(name))


def write_quantize(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """QuantizeLinear; behind a layer in float32, Max with the lowest number before it.

    ONNX Runtime rounds the weights of a float convolution that stands between DequantizeLinear
    and QuantizeLinear, unasked (its WeightBiasQuantization). Max changes no number but is in the
    way. It would be in TensorRT's, too, whose files have no such layers.
    """
    quantization = draft.graph.values[operator.output].quantization
    assert quantization is not None
    real = inputs[0]
    layers = [op for op in draft.graph.operators if op.kind in ("Conv", "Gemm")]
    if not draft.explicit and any(op.output == real for op in layers):
        lowest = draft.tensor("lowest", np.asarray(np.finfo(np.float32).min))
        real = draft.node("Max", [real, lowest], f"{real}.guarded")
    draft.quantized(real, quantization, output)


def write_dequantize(
    draft: OnnxDraft, operator: Operator, inputs: Sequence[str], output: str
) -> None:
    """DequantizeLinear."""
    quantization = draft.graph.values[operator.inputs[0]].quantization
    assert quantization is not None
    draft.dequantized(inputs[0], quantization, output)


KINDS: dict[str, Kind] = {
    "DequantizeLinear": Kind(dequantize, role=Role.CROSSING, onnx=write_dequantize),
    "QuantizeLinear": Kind(quantize, role=Role.CROSSING, onnx=write_quantize),
}
