"""How much runs of one thing differ by themselves, and what is more than that.

All of it works on logarithms: a machine's moods are a share of its time. numpy alone, with a seed,
so that the same reports give the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_RUNS = 5  # fewer do not tell how much runs differ
FALSE_ALARMS = 0.01  # share of runs that a gate stops though nothing changed
STANDS_OUT = 0.01  # how seldom chance alone may make a change as large
LEAST_PART = 3  # runs on either side of a change
LEAST_CHANGE = 0.005  # smaller ones are of no use to anybody
RESAMPLES = 4000
PERMUTATIONS = 2000
SEED = 20

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Slowdown:
    """New runs against those before; shares of the time before."""

    change: float  # 0.05: a twentieth slower; negative: faster
    explained: float  # so much slower may be chance
    noise: float  # standard deviation of one run
    runs: int  # before

    @property
    def is_one(self) -> bool:
        """Whether the new runs are slower than chance explains."""
        return self.change > self.explained


def slowdown(
    before: Sequence[float], after: Sequence[float], *, false_alarms: float = FALSE_ALARMS
) -> Slowdown:
    """Hold the mean of new runs against the mean of those before.

    What chance explains is found by a bootstrap (Efron 1979) of the runs before, with replacement:
    as many as there were, and as many new ones. Each draw is spread as if its variance were known
    from so few runs only, as Student's t has it.

    Args:
        before: times of past runs, any unit, at least `LEAST_RUNS`.
        after: times of new runs, in the same unit.
        false_alarms: share of the cases in which a machine without a change is called slower.
    """
    assert len(before) >= LEAST_RUNS
    assert len(after)
    past, new = np.log(np.asarray(before)), np.log(np.asarray(after))
    count = len(past)
    residuals = (past - past.mean()) * math.sqrt(count / (count - 1))
    rng = np.random.default_rng(SEED)
    old_means = rng.choice(residuals, (RESAMPLES, count)).mean(axis=1)
    new_means = rng.choice(residuals, (RESAMPLES, len(new))).mean(axis=1)
    spread = np.sqrt((count - 1) / rng.chisquare(count - 1, RESAMPLES))
    chance = np.quantile((new_means - old_means) * spread, 1 - false_alarms)
    return Slowdown(
        change=math.expm1(float(new.mean() - past.mean())),
        explained=math.expm1(max(float(chance), 0.0)),
        noise=float(past.std(ddof=1)),
        runs=count,
    )


@dataclass(frozen=True)
class Change:
    """From run number ``at`` on, times are others; ``share`` is 0.05 where they are a twentieth
    longer, ``chance`` how often chance alone makes one as clear."""

    at: int
    share: float
    chance: float


def find_changes(times: Sequence[float]) -> tuple[Change, ...]:
    """Every place where the runs before and behind differ by more than chance, in order.

    The clearest is looked for first, then those in the runs before it and in those behind it
    (binary segmentation, Scott and Knott 1974). How clear: the largest t of all splits, held
    against that of the same runs in a random order.
    """
    logs = np.log(np.asarray(times, dtype=np.float64))
    return tuple(sorted(_find(logs, 0, np.random.default_rng(SEED)), key=lambda one: one.at))


def last_level(times: Sequence[float]) -> int:
    """The first of the runs that are level with the newest."""
    changes = find_changes(times)
    return changes[-1].at if changes else 0


def _find(logs: Values, first: int, rng: np.random.Generator) -> list[Change]:
    if len(logs) < 2 * LEAST_PART:
        return []
    clearness = _clearness(logs[np.newaxis])[0]
    at = int(clearness.argmax()) + LEAST_PART
    drawn = rng.permuted(np.tile(logs, (PERMUTATIONS, 1)), axis=1)
    as_clear = int((_clearness(drawn).max(axis=1) >= clearness.max() * (1 - 1e-12)).sum())
    chance = (1 + as_clear) / (1 + PERMUTATIONS)
    share = math.expm1(float(logs[at:].mean() - logs[:at].mean()))
    if chance > STANDS_OUT or abs(share) < LEAST_CHANGE:
        return []
    return [
        *_find(logs[:at], first, rng),
        Change(first + at, share, chance),
        *_find(logs[at:], first + at, rng),
    ]


def _clearness(rows: Values) -> Values:
    """|t| of each split with `LEAST_PART` or more on either side: [rows, splits]."""
    count = rows.shape[1]
    before = np.arange(LEAST_PART, count - LEAST_PART + 1)
    behind = count - before
    sums, squares = np.cumsum(rows, axis=1), np.cumsum(rows**2, axis=1)
    total, all_squares = sums[:, -1:], squares[:, -1:]
    low, high = sums[:, before - 1], total - sums[:, before - 1]
    within = all_squares - low**2 / before - high**2 / behind
    error = np.sqrt(np.maximum(within, 1e-18) / (count - 2) * (1 / before + 1 / behind))
    clear: Values = np.abs(high / behind - low / before) / error
    return clear
