"""The gate's arithmetic, on simulated series; and the change that stands out."""

from __future__ import annotations

import numpy as np
import pytest

from edgeticket.pipeline.history.gate import judge_values
from edgeticket.pipeline.history.noise import find_change

SERIES, NOISE, SLOWER = 200, 0.02, 1.05


def outcomes(slower: float, *, runs: int, new: int) -> float:
    """Share of series in which new runs are found worse."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(SERIES):
        past = 3.0 * (1 + NOISE * rng.standard_normal(runs))
        fresh = 3.0 * slower * (1 + NOISE * rng.standard_normal(new))
        verdict = judge_values("a", "b", "p90 ms", list(past), list(fresh), lower=True)
        found += verdict.outcome == "worse"
    return found / SERIES


@pytest.mark.parametrize("new", [1, 3])
@pytest.mark.parametrize("runs", [12, 30])
def test_no_more_than_one_alarm_in_twenty_is_false(runs: int, new: int) -> None:
    assert outcomes(1.0, runs=runs, new=new) <= 0.05


def test_a_slow_down_of_a_twentieth_is_found() -> None:
    assert outcomes(SLOWER, runs=20, new=5) >= 0.95
    assert outcomes(SLOWER, runs=20, new=3) >= 0.9
    assert outcomes(SLOWER, runs=20, new=1) >= 0.55  # one run of such noise cannot tell more
    assert outcomes(1 / SLOWER, runs=20, new=3) <= 0.01  # faster is no fault


@pytest.mark.parametrize("lower", [True, False])
def test_a_score_that_never_moved_may_not_fall(lower: bool) -> None:
    worse = 0.91 if lower else 0.89
    judged = [
        judge_values("a", "b", "top-1", [0.9] * 8, [value], lower=lower).outcome
        for value in (0.9, worse, 1.8 - worse)
    ]
    assert judged == ["ok", "worse", "ok"]


def test_the_change_that_stands_out() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        at = int(rng.integers(6, 24))
        x = 0.02 * rng.standard_normal(30)
        x[at:] += 0.08
        found = find_change(list(x))
        hits += found is not None and abs(found - at) <= 1
    assert hits >= 90
    still = [find_change(list(0.02 * rng.standard_normal(30))) for _ in range(100)]
    assert sum(each is not None for each in still) <= 5
    assert find_change([1.0] * 30) is None
    assert find_change([1.0, 2.0]) is None
