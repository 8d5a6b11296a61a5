"""What a metric would be on other samples: of those drawn with replacement (Efron 1979).

Outputs are not in reports, so that who compares two of them cannot draw. The instrument draws, and
every report on the same samples has the same draws: what two of them differ by, draw by draw, is
the bootstrap of the difference, paired by sample, of any metric whatever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.unavailable import Unavailable

DRAWS = 200
LEAST = 50  # with fewer the ends of an interval are those of single draws
MOST_STEPS = 200_000_000  # of all draws: five seconds of a server's core
SEED = 20


@dataclass(frozen=True)
class Reweighted:
    """A metric of samples that count several times, or not at all.

    Attributes:
        units: how many things are drawn: samples, or listed pairs of them.
        steps: numbers that `score` goes through.
        score: how often each counts, [units] -> the metric; None: it cannot be had of these.
    """

    units: int
    steps: int
    score: Callable[[npt.NDArray[np.int64]], float | None]


def counts_of_draws(units: int, draws: int) -> Iterator[npt.NDArray[np.int64]]:
    """For each draw of ``units`` things with replacement how often each is in it, [units].

    The beginning is the same however many follow, and so are all of them on every machine: numpy
    promises the stream of `RandomState` for ever (NEP 19), that of its newer generators not.
    """
    stream = np.random.RandomState(SEED)
    for _ in range(draws):
        drawn = (stream.random_sample(units) * units).astype(np.int64)
        yield np.bincount(drawn, minlength=units).astype(np.int64)


def resampled(metric: Reweighted) -> tuple[float, ...] | Unavailable:
    """The metric of each draw in order, `DRAWS` at most; those of which it cannot be had are left
    out.

    Whether it can is a matter of targets alone (a class, or an anomaly, that was not drawn), so
    that the same draws are left out for all networks. What takes long has fewer draws, and none
    where that would be below `LEAST`.
    """
    draws = min(DRAWS, MOST_STEPS // max(metric.steps, 1))
    if draws < LEAST:
        return Unavailable(
            f"{metric.steps} numbers a draw are more than {MOST_STEPS // LEAST}: an interval would "
            "take too long"
        )
    scores = [metric.score(counts) for counts in counts_of_draws(metric.units, draws)]
    kept = tuple(float(s) for s in scores if s is not None and np.isfinite(s))
    if len(kept) < LEAST:
        return Unavailable(
            f"the metric can be had of {len(kept)} of {draws} draws of the samples, fewer than "
            f"{LEAST}"
        )
    return kept
