"""What runs differ by when nothing has changed, learnt from past runs by bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 4000
SEED = 20  # bounds are part of the output, so they must not change from call to call
FALSE_ALARMS = 0.025  # of either side; half of what the gate promises, as few runs tell little
FEWEST_RUNS = 5
LONGEST = 30  # runs that are looked back


def rise_bound(past: Sequence[float], count: int) -> float:
    """How much higher than that of ``past`` the mean of ``count`` new runs may be by chance.

    A smoothed bootstrap (Silverman and Young 1987): both means are drawn from past runs, with a
    kernel's noise, since a handful of runs has no tail to draw from; deviations are widened by
    √(n / (n − 1)), by which a sample's spread is too narrow.

    Args:
        past: at least `FEWEST_RUNS` of any additive quantity.
        count: of new runs, whose mean is to be judged.
    """
    values = np.asarray(past, np.float64)
    n = len(values)
    rng = np.random.default_rng(SEED)
    deviations = (values - values.mean()) * np.sqrt(n / (n - 1))
    width = 1.06 * deviations.std() * n**-0.2
    old, new = (
        rng.choice(deviations, (RESAMPLES, k)) + width * rng.standard_normal((RESAMPLES, k))
        for k in (n, count)
    )
    return float(np.quantile(new.mean(1) - old.mean(1), 1 - FALSE_ALARMS))


def find_change(values: Sequence[float], *, alpha: float = 0.01) -> int | None:
    """The run at which the mean changes most, if chance does not explain it; None: it does.

    Cumulated deviations are furthest from zero there (CUSUM); how far they get by chance is what
    they do in runs whose order was drawn anew.

    Returns:
        The index of the first run after the change.
    """
    x = np.asarray(values, np.float64)
    if len(x) < 2 * FEWEST_RUNS or np.ptp(x) == 0:
        return None
    distances = _walk(x[None])[0]
    rng = np.random.default_rng(SEED)
    shuffled = _walk(rng.permuted(np.tile(x, (RESAMPLES // 4, 1)), axis=1)).max(1)
    if float((shuffled >= distances.max()).mean()) >= alpha:
        return None
    return int(distances.argmax()) + 1


def _walk(x: Array) -> Array:
    """|cumulated deviation from the mean| behind each run but the last: [draws, runs − 1].

    Weighted by how many runs lie on both sides, so that a change at either end is seen too.
    """
    n = x.shape[1]
    sums = np.abs(np.cumsum(x - x.mean(1, keepdims=True), axis=1))[:, :-1]
    at = np.arange(1, n)
    return np.asarray(sums / np.sqrt(at * (n - at) / n))
