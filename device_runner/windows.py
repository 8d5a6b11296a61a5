"""The timed queries in consecutive windows: is the machine the same at the end as at the start?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.device_runner.latency import percentile
from edgeticket.device_runner.unavailable import Unavailable

WINDOWS = 5  # MLPerf Tiny's number


@dataclass(frozen=True)
class Windows:
    """Medians of equally many consecutive queries.

    ``spread`` is (highest - lowest) / median of the medians. ``drift`` is how far the straight
    line of least squares through them rises from the first to the last, by the same measure;
    positive: queries got slower.
    """

    count: int
    p50_ns: tuple[int, ...] | Unavailable
    spread: float | Unavailable
    drift: float | Unavailable


def split_windows(samples_ns: Sequence[int], count: int) -> Windows:
    """Times in order of execution -> their windows; a rest of fewer than ``count`` is left out."""
    size = len(samples_ns) // count
    medians = []
    for i in range(count):
        median = percentile(sorted(samples_ns[i * size : (i + 1) * size]), 0.5)
        if isinstance(median, Unavailable):
            missing = Unavailable(f"with {count} windows, {median.reason} in each")
            return Windows(count, missing, missing, missing)
        medians.append(median)
    return windows_of(medians)


def windows_of(medians: Sequence[int]) -> Windows:
    """The medians of windows, in their order -> how steady they are."""
    count = len(medians)
    if count < 2:
        alone = Unavailable("one window has neither spread nor drift")
        return Windows(count, tuple(medians), alone, alone)
    middle = sorted(medians)[count // 2]
    if middle == 0:
        too_fast = Unavailable("queries are shorter than the clock's step")
        return Windows(count, tuple(medians), too_fast, too_fast)
    mean_at, mean = (count - 1) / 2, sum(medians) / count
    slope = sum((i - mean_at) * (median - mean) for i, median in enumerate(medians)) / sum(
        (i - mean_at) ** 2 for i in range(count)
    )
    return Windows(
        count,
        tuple(medians),
        spread=(max(medians) - min(medians)) / middle,
        drift=slope * (count - 1) / middle,
    )
