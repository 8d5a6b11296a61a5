"""What is more than chance: found where it was planted, and hardly ever where it was not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeticket.pipeline.history.noise import (
    FALSE_ALARMS,
    LEAST_PART,
    find_changes,
    last_level,
    slowdown,
)

SERIES = 200
NOISE = 0.02
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def normal(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.exp(NOISE * rng.standard_normal(count))


def skewed(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Never faster than the machine can be, and sometimes much slower."""
    return np.exp(NOISE * rng.exponential(1.0, count))


def alarms(draw: Draw, *, slower: float, before: int, after: int, series: int = SERIES) -> float:
    """The share of simulated series that are called slower."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(series):
        past, new = draw(rng, before), draw(rng, after) * (1 + slower)
        found += slowdown(5.0 * past, 5.0 * new).is_one
    return found / series


def test_a_twentieth_is_found_in_noise_of_a_fiftieth() -> None:
    assert alarms(normal, slower=0.0, before=20, after=5) <= 0.05
    assert alarms(normal, slower=0.05, before=20, after=5) >= 0.95


def test_runs_that_are_late_at_times_are_no_reason_for_alarms() -> None:
    assert alarms(skewed, slower=0.0, before=20, after=5, series=1000) <= 0.05
    assert alarms(skewed, slower=0.05, before=20, after=5) >= 0.9


@pytest.mark.parametrize("before", [5, 10])
def test_few_runs_are_no_reason_for_alarms(before: int) -> None:
    """Else a young history would stop everything; it overlooks more instead."""
    assert alarms(normal, slower=0.0, before=before, after=1) <= 0.05


def test_faster_is_no_alarm() -> None:
    assert alarms(normal, slower=-0.05, before=20, after=3) == 0


def test_what_is_told_of_a_slowdown() -> None:
    rng = np.random.default_rng(0)
    past = normal(rng, 50)
    found = slowdown(past, past[-5:] * 1.1)
    assert found.change == pytest.approx(0.1, abs=0.03)
    assert found.noise == pytest.approx(NOISE, rel=0.3)
    assert found.runs == 50
    assert found.is_one
    # Five new runs against fifty: Φ⁻¹(0.99)·σ·√(1/5 + 1/50).
    assert found.explained == pytest.approx(2.33 * NOISE * np.sqrt(0.22), rel=0.2)
    assert FALSE_ALARMS == 0.01
    assert slowdown(past, past[-5:] * 1.1) == found  # the same reports, the same verdict


def test_runs_that_never_differ() -> None:
    assert not slowdown([3.0] * 6, [3.0]).is_one
    assert slowdown([3.0] * 6, [3.0001]).is_one
    assert find_changes([3.0] * 12) == ()


# --- changes of level


def test_a_change_is_found_where_it_is() -> None:
    rng = np.random.default_rng(3)
    right = wrong = near = 0
    for _ in range(60):
        times = normal(rng, 30)
        wrong += bool(find_changes(times))
        times[20:] *= 1.05
        changes = find_changes(times)
        right += len(changes) == 1
        near += any(abs(one.at - 20) <= 2 for one in changes)
        if len(changes) == 1:
            assert changes[0].share == pytest.approx(0.05, abs=0.03)
    assert wrong <= 3
    assert right >= 54
    assert near >= 54


def test_two_changes_and_the_level_of_today() -> None:
    times = normal(np.random.default_rng(1), 40)
    times[10:25] *= 1.2
    times[25:] *= 0.9
    assert [one.at for one in find_changes(times)] == [10, 25]
    assert last_level(times) == 25
    assert last_level(times[:10]) == 0


def test_too_few_runs_have_no_change() -> None:
    assert find_changes([1.0] * LEAST_PART + [2.0] * (LEAST_PART - 1)) == ()
    assert find_changes([]) == ()
