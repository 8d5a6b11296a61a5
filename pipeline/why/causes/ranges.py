"""Scales that do not fit what they round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.graph.graph import HIGHEST, LOWEST, Quantization
from edgeticket.pipeline.why.finding import Cause, Change, Finding, Remedy
from edgeticket.pipeline.why.pair import Pair
from edgeticket.pipeline.why.trace import Match

Array = npt.NDArray[Any]

# Rounding by a step makes an error of step² / 12 in the mean (uniform within ± half a step).
ROUNDING_NOISE = 1 / 12
# Ranges that a runtime fixes (softmax, tanh) end one step short; what lies there is no fault.
TOLERATED_STEPS = 1.0
CODES = HIGHEST - LOWEST + 1
RARE_SAMPLES = 8  # one in so many may lie beyond what calibration saw
FEW_CODES = CODES // 16  # fewer than 4 of 8 bits
FEWEST_CHANNELS = 4
SAME = 1e-3  # scales that differ by less are the same


def find_clipped(pair: Pair) -> Sequence[Finding]:
    """Values that the second file cuts off: where that makes more error than rounding does.

    The values are those of the first file, so that a layer is not blamed for what came before it.
    """
    if pair.drawn:
        return ()
    found = []
    for match in _rounded_anew(pair.matches):
        assert match.rounding is not None
        step, zero = float(match.rounding.scale), match.rounding.zero_point
        # At the zero point a ReLU ends, and what is below it belongs to the layer.
        low = -np.inf if zero == LOWEST else (LOWEST - zero) * step
        high = np.inf if zero == HIGHEST else (HIGHEST - zero) * step
        x = match.ours.astype(np.float64)
        excess = np.maximum(np.maximum(x - high, low - x), 0) / step
        excess[excess <= TOLERATED_STEPS] = 0
        noise = _usual_noise(excess)
        if noise <= ROUNDING_NOISE:
            continue
        share, worst = float((excess > 0).mean()), float(excess.max())
        found.append(
            Finding(
                Cause.CLIPPED,
                pair.layer(match.name),
                f"{share:.2%} of its values are cut off, by up to {worst:.0f} steps: "
                f"{noise / ROUNDING_NOISE:.1f} times the error of rounding",
                {
                    "clipped_share": share,
                    "largest_excess_steps": worst,
                    "clipping_over_rounding": noise / ROUNDING_NOISE,
                    "range_low": float((LOWEST - zero) * step),
                    "range_high": float((HIGHEST - zero) * step),
                    "sqnr_db": match.sqnr_db,
                },
                Remedy(
                    "take the extremes of the calibration set; if they are taken already, "
                    "calibrate with more, and more varied, examples",
                    (Change(("ptq",), "ranges", "minmax"),),
                ),
            )
        )
    return found


def _usual_noise(excess: Array) -> float:
    """Mean square over all samples but the worst ones, of which any calibration set lacks some."""
    each = np.sort((excess**2).reshape(len(excess), -1).mean(1))
    return float(each[: len(each) - len(each) // RARE_SAMPLES].mean())


def find_outliers(pair: Pair) -> Sequence[Finding]:
    """One channel that takes the range, so that all others have fewer than 16 of 256 codes."""
    if pair.drawn:
        return ()
    found = []
    for match in _rounded_anew(pair.matches):
        assert match.rounding is not None
        axes = {pair.channel_axis % match.ours.ndim}
        if match.ours.ndim < 4:
            axes = set(range(1, match.ours.ndim))
        told = [t for axis in axes if (t := _outlier(match.ours, axis, match.rounding))]
        if not told:
            continue
        channel, codes, ratio = told[0]
        found.append(
            Finding(
                Cause.OUTLIER,
                pair.layer(match.name),
                f"channel {channel} is {ratio:.0f} times as wide as any other, which leaves them "
                f"{codes:.1f} of {CODES} codes",
                {
                    "channel": channel,
                    "codes_of_the_others": codes,
                    "times_as_wide": ratio,
                    "sqnr_db": match.sqnr_db,
                },
                Remedy(
                    "even out the channels of consecutive layers",
                    (Change(("ptq",), "equalise", True),),
                ),
            )
        )
    return found


def _outlier(x: Array, axis: int, rounding: Quantization) -> tuple[int, float, float] | None:
    """(channel, codes that the widest other uses, how many times as wide) where there is one."""
    if x.shape[axis] < FEWEST_CHANNELS:
        return None
    moved = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64)
    widths = np.maximum(moved.max(1), 0) - np.minimum(moved.min(1), 0)
    alive = int((widths > float(rounding.scale) / 2).sum())
    widest, others = int(widths.argmax()), np.sort(widths)[:-1]
    second = float(others[-1])
    # Dead channels need no codes: half of the others must hold something.
    if second <= 0 or 2 * (alive - 1) < len(others):
        return None
    # The scale may have been made for more than the widest channel; clipping is another cause.
    used = min(float(widths[widest]), CODES * float(rounding.scale))
    codes = second / float(rounding.scale)
    if codes >= FEW_CODES or used < 16 * second:
        return None
    return widest, codes, float(widths[widest]) / second


def _rounded_anew(matches: Sequence[Match]) -> list[Match]:
    """Values that the second file rounds otherwise than the first."""
    return [
        match
        for match in matches
        if match.rounding is not None
        and not (
            match.before is not None
            and abs(match.before.scale / match.rounding.scale - 1) < SAME
            and match.before.zero_point == match.rounding.zero_point
        )
    ]
