"""How wide an activation's codes spread: (histogram, recipe) -> the range that they span."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST
from edgeticket.pipeline.recipe import Ptq

BINS = 2048  # eight for each code; memory does not grow with the number of examples

# Ends that `mse` tries on either side, as shares of the extreme.
SHARES = np.linspace(1.0, 0.2, 81)

Array = npt.NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often a tensor takes which values, in equal bins from ``low`` to ``high``.

    Exact zeros are counted apart: every choice of scale represents them without error.
    """

    low: float
    high: float
    counts: Array  # [BINS], without zeros
    zeros: int

    @property
    def centres(self) -> Array:
        """The middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (np.arange(len(self.counts), dtype=np.float64) + 0.5)

    def errors(self, lows: Array, highs: Array) -> Array:
        """For ranges [n] the sums of squared differences that 256 codes over each make."""
        scales = (highs - lows)[:, None] / (HIGHEST - LOWEST)
        zero_points = np.clip(np.rint(LOWEST - lows[:, None] / scales), LOWEST, HIGHEST)
        codes = np.rint(self.centres / scales) + zero_points
        real = (np.clip(codes, LOWEST, HIGHEST) - zero_points) * scales
        errors: Array = np.square(real - self.centres) @ self.counts
        return errors


def minmax_range(histogram: Histogram, cfg: Ptq) -> Range:
    """The extremes."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, cfg: Ptq) -> Range:
    """``cfg.percentile`` % of the values lie below the upper end, and as many above the lower.

    The ends are edges of bins, on the outer side; 100 gives the extremes.
    """
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    counts = histogram.counts.copy()
    counts[np.clip(np.searchsorted(edges, 0.0, "right") - 1, 0, len(counts) - 1)] += histogram.zeros
    outside = counts.sum() * (1 - cfg.percentile / 100)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    # The first bin that the tail does not cover whole.
    first = int(np.searchsorted(below, outside, "right"))
    last = len(counts) - 1 - int(np.searchsorted(above, outside, "right"))
    if first > last:  # everything lies in one place
        return minmax_range(histogram, cfg)
    return float(edges[first]), float(edges[last + 1])


def mse_range(histogram: Histogram, cfg: Ptq) -> Range:
    """The range with the least squared error among `SHARES` of the extremes.

    Clipping a few large values buys all others a finer step (Banner et al. 2019). Both ends are
    searched in turn, until neither moves; an end on the side of zero that no value is on stays.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if low == high:
        return low, high
    best, least = (low, high), math.inf
    while True:
        before = least
        for end in (0, 1):
            lows = low * SHARES if end == 0 else np.full_like(SHARES, best[0])
            highs = high * SHARES if end == 1 else np.full_like(SHARES, best[1])
            errors = histogram.errors(lows, highs)
            chosen = int(errors.argmin())
            if errors[chosen] < least:
                best, least = (float(lows[chosen]), float(highs[chosen])), float(errors[chosen])
        if least == before:
            return best


RANGES: dict[str, Callable[[Histogram, Ptq], Range]] = {
    "minmax": minmax_range,
    "percentile": percentile_range,
    "mse": mse_range,
}
