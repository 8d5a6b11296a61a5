"""Nodes that leave no operator behind: copies, QuantizeLinear and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeticket.pipeline.graph.draft import Draft
from edgeticket.pipeline.graph.graph import Array, Constant, Quantization
from edgeticket.pipeline.operators.kind import Reader


def same(draft: Draft, self: str, *others: Any, **settings: Any) -> str:
    """The input as it is."""
    return self


def _onnx_dropout(
    draft: Draft, x: str, ratio: str = "", training_mode: str = "", *, seed: int = 0
) -> str:
    if training_mode and draft.array(training_mode, "its mode").any():
        raise draft.refuse("is in training mode: export the network in evaluation mode")
    return x


def _aten_same(draft: Draft, **arguments: Any) -> str:
    """The first argument, whatever ATen calls it."""
    return next(iter(arguments.values()))  # type: ignore[no-any-return]


def _quantize(
    draft: Draft, x: str, scale: str, zero_point: str = "", *, axis: int = 1, **more: Any
) -> str:
    steps = np.asarray(draft.array(scale, "its scale"))
    if steps.dtype != np.float32 or not (np.isfinite(steps) & (steps > 0)).all():
        raise draft.refuse("has scales that are not positive float32; calibrate the network anew")
    zeros = draft.array(zero_point, "its zero point") if zero_point else np.uint8(0)
    if np.asarray(zeros).dtype != np.int8:
        raise draft.refuse(f"makes codes that are {np.asarray(zeros).dtype}; quantise to int8")
    if draft.is_constant(x):
        _check_axis(draft, x, steps, axis)
        folded = _fold(draft, draft.constants[x], steps, np.asarray(zeros))
        name = draft.unique(draft.result)
        draft.constants[name], draft.shapes[name] = folded, folded.data.shape
        return name
    if steps.size != 1:
        raise draft.refuse("has several scales; activations must have one for the whole tensor")
    quantization = Quantization(np.float32(steps.item()), int(np.asarray(zeros).item()))
    if draft.scales.setdefault(x, quantization) != quantization:
        raise draft.refuse(f"rounds {x} a second time, differently; round it once")
    return x


def _fold(draft: Draft, weight: Constant, scale: Array, zero_point: Array) -> Constant:
    """Round float weights to codes −127..127 with one scale for each index of axis 0."""
    if scale.size not in (1, *weight.data.shape[:1]) or zero_point.any():
        raise draft.refuse("rounds weights; they need a scale per output channel and zero points 0")
    scales = _by_channel(scale, weight)
    column = scales.reshape(-1, *[1] * (weight.data.ndim - 1))
    with np.errstate(over="ignore"):  # infinity saturates like any other number
        codes = np.clip(np.rint(weight.data / column), -127, 127).astype(np.int8)
    return Constant(codes, scales)


def _dequantize(
    draft: Draft, x: str, scale: str, zero_point: str = "", *, axis: int = 1, **more: Any
) -> str:
    steps = np.asarray(draft.array(scale, "its scale"))
    if draft.is_constant(x):
        codes = draft.constants[x]
        if codes.data.dtype != np.int8:
            raise draft.refuse(f"reads {x}, which is {codes.data.dtype}; store weights as int8")
        _check_axis(draft, x, steps, axis)
        if zero_point and np.any(draft.array(zero_point, "its zero point")):
            raise draft.refuse(f"reads {x} with zero points that are not 0; weights must have 0")
        by_channel = _by_channel(steps, codes)
        if codes.scale is not None and not np.array_equal(codes.scale, by_channel):
            raise draft.refuse(f"reads {x}, rounded with another scale; export it again")
        name = draft.unique(draft.result)
        draft.constants[name] = Constant(codes.data, by_channel)
        draft.shapes[name] = codes.data.shape
        return name
    if x not in draft.scales:
        raise draft.refuse("does not follow a QuantizeLinear; convert the float-input file")
    zeros = draft.array(zero_point, "its zero point") if zero_point else np.int8(0)
    given = Quantization(np.float32(steps.item()), int(np.asarray(zeros).item()))
    if draft.scales[x] != given:
        raise draft.refuse(f"reads {x}, rounded with another scale; export it again")
    return x


def _check_axis(draft: Draft, x: str, scale: Array, axis: int) -> None:
    if scale.size > 1 and axis % max(draft.rank(x), 1) != 0:
        raise draft.refuse(
            f"has a scale for each index of axis {axis} of {x}; there must be one for each output "
            "channel, axis 0"
        )


def _by_channel(scale: Array, weight: Constant) -> Array:
    """A scale for each index of axis 0, from that or from one for all."""
    channels = weight.data.shape[0] if weight.data.ndim else 1
    return np.array(np.broadcast_to(scale.reshape(-1), (channels,)))


ATEN: dict[str, Reader] = dict.fromkeys(
    (
        *("alias", "clone", "contiguous", "detach", "dropout", "alpha_dropout", "feature_dropout"),
        *("lift_fresh_copy", "native_dropout", "identity", "feature_alpha_dropout"),
    ),
    _aten_same,
)
ONNX: dict[str, Reader] = {
    "DequantizeLinear": _dequantize,
    "Dropout": _onnx_dropout,
    "Identity": same,
    "QuantizeLinear": _quantize,
}
