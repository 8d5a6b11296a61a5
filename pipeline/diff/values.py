"""Codes, real numbers, and which scale each value of a file has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgeticket.pipeline.formats.onnx_model import parse_onnx
from edgeticket.pipeline.graph.graph import HIGHEST, LOWEST, Quantization

Array = npt.NDArray[Any]


def to_reals(codes: Array, quantization: Quantization) -> Array:
    """Codes, int8 or wider -> float32, as DequantizeLinear has it."""
    steps: Array = (codes.astype(np.int32) - quantization.zero_point).astype(np.float32)
    reals: Array = steps * quantization.scale
    return reals


def to_codes(real: Array, quantization: Quantization) -> Array:
    """Real numbers -> codes −128..127 in int32, as QuantizeLinear has it."""
    codes: Array = np.rint(real / quantization.scale) + quantization.zero_point
    clipped: Array = np.clip(codes, LOWEST, HIGHEST).astype(np.int32)
    return clipped


def signed(stored: Array) -> Array:
    """What a runtime holds -> codes −128..127 in int32, or the float32 that it is."""
    if stored.dtype == np.uint8:
        return stored.astype(np.int32) - 128
    return stored.astype(np.int32) if stored.dtype == np.int8 else stored


def read_quantizations(data: bytes, *, title: str) -> dict[str, Quantization]:
    """The scale and zero point of each value of an ONNX file with integer values.

    Zero points are for codes −128..127, uint8 ones having been shifted. What passes codes on (max
    pooling, transposing) passes their scale on, to either side.

    Raises:
        InputError: ``title`` is no ONNX file.
    """
    model = parse_onnx(data, place=title)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, Quantization] = {}

    def quantization(node: onnx.NodeProto) -> Quantization:
        scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        shift = 128 * (zero_point.dtype == np.uint8)
        return Quantization(np.float32(scale.item()), int(zero_point.item()) - shift)

    weights = {  # which a file may round itself
        node.output[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in constants
    }
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            if node.input[0] not in constants:
                found[node.output[0]] = quantization(node)
        elif node.op_type == "DequantizeLinear":
            if node.input[0] not in constants and node.input[0] not in weights:
                found.setdefault(node.input[0], quantization(node))
        elif node.input and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    # Codes that come in may be moved before anything says what they are worth.
    for node in reversed(model.graph.node):
        moves = node.op_type not in ("QuantizeLinear", "DequantizeLinear") and node.input
        if moves and node.output[0] in found and node.input[0] not in constants:
            found.setdefault(node.input[0], found[node.output[0]])
    return found
