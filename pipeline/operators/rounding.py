"""Nodes that leave no operator behind: copies, QuantizeLinear and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.draft import Coded, Draft
from edgeticket.pipeline.graph.graph import Array, Quantization
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
    """Round: a constant is rounded now, a value by an operator (see `Draft.rounded`)."""
    steps, zeros = _steps(draft, scale, zero_point)
    if not draft.is_constant(x):
        if steps.size > 1:
            return _quantize_channels(draft, x, steps, zeros, axis)
        return draft.rounded(x, _one(draft, steps, zeros))
    data = draft.array(x)
    step, zero = (_along(draft, numbers, data.shape, axis) for numbers in (steps, zeros))
    limits = np.iinfo(zeros.dtype)
    with np.errstate(over="ignore"):  # infinity saturates like any other number
        codes = np.clip(np.rint(data / step) + zero, limits.min, limits.max)
    return draft.coded_constant(Coded(codes.astype(np.int32) - zero, step), draft.result)


def _dequantize(
    draft: Draft, x: str, scale: str, zero_point: str = "", *, axis: int = 1, **more: Any
) -> str:
    """What codes stand for: a rounded value is that already."""
    stored = draft.array(x) if draft.is_constant(x) and x not in draft.coded else None
    steps, zeros = _steps(draft, scale, zero_point, None if stored is None else stored.dtype)
    if stored is not None:
        step, zero = (_along(draft, numbers, stored.shape, axis) for numbers in (steps, zeros))
        codes = stored.astype(np.int64) - zero
        if codes.size and np.abs(codes).max() > np.iinfo(np.int32).max:
            raise draft.refuse(f"reads {x}, whose codes minus zero point do not fit int32")
        return draft.coded_constant(Coded(codes.astype(np.int32), step), draft.result)
    if x in draft.coded:
        step = _along(draft, steps, draft.shape(x), axis)
        if not np.array_equal(
            np.broadcast_to(step, draft.coded[x].scale.shape), draft.coded[x].scale
        ):
            raise draft.refuse(f"reads {x}, rounded with another scale; export it again")
        return x
    if x in draft.channel_steps:
        wide, shifts = draft.channel_steps[x]
        same_steps = np.array_equal(wide, _along(draft, steps, draft.shape(x), axis))
        if not same_steps or not np.array_equal(shifts, zeros):
            raise draft.refuse(f"reads {x}, rounded with another scale; export it again")
        if _differ(shifts):
            zero = _along(draft, shifts, draft.shape(x), axis).astype(np.float32)
            x = draft.add("Sub", x, draft.constant(zero, f"{x}_zeros"), suffix="shifted")
        return draft.add("Mul", x, draft.constant(wide, f"{x}_steps"))
    given = _one(draft, steps, zeros)
    if x in draft.inputs_of_codes:
        draft.scales.setdefault(x, given)
    if x not in draft.scales:
        raise draft.refuse("does not follow a QuantizeLinear; convert the float-input file")
    if draft.scales[x] != given:
        raise draft.refuse(f"reads {x}, rounded with another scale; export it again")
    return x


def _quantize_channels(draft: Draft, x: str, steps: Array, zeros: Array, axis: int) -> str:
    """Divide by the scale of each channel, then round with the scale 1 that all share.

    Where zero points differ, they are added first, and codes have a zero point of 0.
    """
    wide = _along(draft, steps, draft.shape(x), axis)
    counts = draft.add("Div", x, draft.constant(wide, f"{x}_steps"), suffix="counts")
    one = np.ones((), np.float32), zeros.reshape(-1)[0]
    if _differ(zeros):
        zero = _along(draft, zeros, draft.shape(x), axis).astype(np.float32)
        counts = draft.add("Add", counts, draft.constant(zero, f"{x}_zeros"), suffix="shifted")
        one = np.ones((), np.float32), np.zeros((), zeros.dtype)
    rounded = draft.rounded(counts, _one(draft, *one))
    draft.channel_steps[rounded] = wide, zeros
    return rounded


def _differ(zeros: Array) -> bool:
    return bool((zeros != zeros.reshape(-1)[0]).any())


def _steps(
    draft: Draft, scale: str, zero_point: str, codes: np.dtype[Any] | None = None
) -> tuple[Array, Array]:
    """Checked scales and zero points; the type of the latter is that of the codes."""
    steps = np.asarray(draft.array(scale, "its scale"))
    if steps.dtype != np.float32 or not (np.isfinite(steps) & (steps > 0)).all():
        raise draft.refuse("has scales that are not positive float32; calibrate the network anew")
    if zero_point:
        zeros = np.asarray(draft.array(zero_point, "its zero point"))
    else:
        zeros = np.zeros((), np.uint8 if codes is None else codes)
    known = CODES if codes is None else (*CODES, np.dtype(np.int32))
    if zeros.dtype not in known:
        raise draft.refuse(f"makes codes that are {zeros.dtype}; quantise to int8 or uint8")
    if steps.ndim > 1 or zeros.ndim > 1:
        raise draft.refuse("has scales for blocks of an axis; quantise per tensor or per channel")
    return steps, zeros


CODES = (np.dtype(np.int8), np.dtype(np.uint8))


def _one(draft: Draft, steps: Array, zeros: Array) -> Quantization:
    """The scale of a value; uint8 codes are the int8 codes + 128."""
    if steps.size != 1 or zeros.size != 1:
        raise draft.refuse("has several scales; activations must have one for the whole tensor")
    shift = 128 if zeros.dtype == np.uint8 else 0
    return Quantization(np.float32(steps.item()), int(zeros.item()) - shift)


def _along(draft: Draft, numbers: Array, shape: Sequence[int], axis: int) -> Array:
    """One number for all of a shape, or one for each index of ``axis``, as it is broadcast."""
    wide = numbers if numbers.dtype == np.float32 else numbers.astype(np.int32)
    if numbers.size == 1:
        return wide.reshape((1,) * len(shape))
    axis %= len(shape)
    if numbers.size != shape[axis]:
        raise draft.refuse(f"has {numbers.size} scales for {shape[axis]} channels")
    return wide.reshape([-1 if i == axis else 1 for i in range(len(shape))])


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
