"""Percentiles, their smallest counts, and the timed loop."""

from __future__ import annotations

import gc
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeticket.device_runner import latency
from edgeticket.device_runner.latency import measure, percentile, smallest_count, summarise
from edgeticket.device_runner.unavailable import Unavailable


@pytest.mark.parametrize(("share", "count"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662)])
def test_smallest_counts_are_those_of_mlperf(share: float, count: int) -> None:
    assert smallest_count(share) == count


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 0.95, 0.99])
def test_smallest_count_is_where_the_binomial_bound_crosses(share: float) -> None:
    def at_most_one_above(n: int) -> Fraction:
        p = Fraction(str(share))
        return p**n + n * (1 - p) * p ** (n - 1)

    n = smallest_count(share)
    assert at_most_one_above(n) <= Fraction(1, 100) < at_most_one_above(n - 1)


@given(st.lists(st.integers(0, 10**12), min_size=11, max_size=800))
def test_percentiles_are_samples_of_the_right_rank(times: list[int]) -> None:
    ordered = sorted(times)
    for share in (0.5, 0.9, 0.99):
        found = percentile(ordered, share)
        if len(times) < smallest_count(share):
            assert isinstance(found, Unavailable)
            assert f"p{round(share * 100)} needs {smallest_count(share)} queries" in found.reason
        else:
            assert isinstance(found, int)
            assert found == ordered[int(Fraction(str(share)) * len(times))]


def test_summary_of_known_times() -> None:
    found = summarise(range(1000, 0, -1), warmup_queries=3)
    assert (found.min_ns, found.mean_ns, found.queries) == (1, 500.5, 1000)
    assert (found.p50_ns, found.p90_ns, found.p99_ns) == (501, 901, 991)
    assert found.duration_s == pytest.approx(500_500e-9)
    assert found.samples_ns[0] == 1000  # the order of execution
    assert found.warmup_queries == 3


class Recorder:
    """A model whose query takes about the given time; it writes down who was asked for what."""

    def __init__(self, name: str, log: list[tuple[str, Any]], seconds: float) -> None:
        self.name, self.log, self.seconds = name, log, seconds
        self.collecting: set[bool] = set()

    def __call__(self, x: Any) -> None:
        self.log.append((self.name, x))
        self.collecting.add(gc.isenabled())
        time.sleep(self.seconds)


def turns(log: list[tuple[str, Any]]) -> str:
    """'aab' -> 'ab': the order in which models took turns."""
    names = [name for name, _ in log]
    return "".join(n for i, n in enumerate(names) if i == 0 or names[i - 1] != n)


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WINDOW_NS", 4_000_000)
    monkeypatch.setattr(latency, "REWARM_NS", 1_000_000)


@pytest.mark.usefixtures("short_windows")
def test_models_take_turns_and_each_round_starts_with_another() -> None:
    log: list[tuple[str, Any]] = []
    models = [(Recorder(name, log, 1e-3), [0, 1, 2]) for name in "abc"]
    measure(models, min_seconds=0, min_queries=12, warmup_seconds=0)
    assert turns(log).startswith("abc" + "abc" + "bca" + "cab")  # warm-up and three rounds


@pytest.mark.usefixtures("short_windows")
def test_both_minima_must_be_met_by_every_model() -> None:
    log: list[tuple[str, Any]] = []
    slow, fast = Recorder("slow", log, 2e-3), Recorder("fast", log, 1e-4)
    by_count = measure([(slow, [0]), (fast, [0])], min_seconds=0, min_queries=15, warmup_seconds=0)
    assert all(found.queries >= 15 for found in by_count)
    assert by_count[1].queries > by_count[0].queries  # as many turns, and more in each
    by_time = measure([(fast, [0]), (slow, [0])], min_seconds=0.05, min_queries=1, warmup_seconds=0)
    assert all(found.duration_s >= 0.05 for found in by_time)


@pytest.mark.usefixtures("short_windows")
def test_every_query_is_counted_and_inputs_are_cycled() -> None:
    log: list[tuple[str, Any]] = []
    (found,) = measure(
        [(Recorder("a", log, 1e-4), [0, 1, 2])], min_seconds=0, min_queries=50, warmup_seconds=0.01
    )
    assert len(log) == found.queries + found.warmup_queries
    assert found.warmup_queries >= 10
    assert [x for _, x in log] == [i % 3 for i in range(len(log))]
    assert found.min_ns >= 100_000  # what the query slept


@pytest.mark.usefixtures("short_windows")
def test_no_garbage_is_collected_in_a_window_and_then_it_is_again() -> None:
    model = Recorder("a", [], 1e-4)
    seen: list[bool] = []
    measure(
        [(model, [0])],
        min_seconds=0,
        min_queries=1,
        warmup_seconds=0,
        progress=lambda share: seen.append(gc.isenabled()),
    )
    assert False in model.collecting
    assert set(seen) == {True}
    assert gc.isenabled()
    gc.disable()
    try:
        measure([(model, [0])], min_seconds=0, min_queries=1, warmup_seconds=0)
        assert not gc.isenabled()  # left as it was found
    finally:
        gc.enable()


@pytest.mark.usefixtures("short_windows")
def test_progress_rises_to_one_between_windows() -> None:
    shares: list[float] = []
    log: list[tuple[str, Any]] = []
    measure(
        [(Recorder("a", log, 1e-4), [0])],
        min_seconds=0.02,
        min_queries=1,
        warmup_seconds=0,
        progress=shares.append,
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) < len(log) / 3


def test_a_window_ends_when_its_storage_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WINDOW_QUERIES", 8)
    monkeypatch.setattr(latency, "WINDOW_NS", 10**10)
    monkeypatch.setattr(latency, "REWARM_NS", 0)
    (found,) = measure([(id, [0])], min_seconds=0, min_queries=20, warmup_seconds=0)
    assert found.queries == 24


def test_a_window_begins_with_queries_that_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "REWARM_NS", 50_000_000)
    monkeypatch.setattr(latency, "WINDOW_QUERIES", 1)
    model = Recorder("a", [], 1e-4)
    (found,) = measure([(model, [0])], min_seconds=0, min_queries=1, warmup_seconds=0)
    assert found.queries == 1
    assert found.warmup_queries > 2  # one of the warm-up, and more than one of the window


@pytest.mark.usefixtures("short_windows")
def test_somebody_may_look_between_any_two_windows() -> None:
    log: list[tuple[str, Any]] = []
    models = [(Recorder(name, log, 1e-3), [0]) for name in "ab"]
    measure(
        models,
        min_seconds=0,
        min_queries=5,
        warmup_seconds=0,
        watch=lambda: log.append(("-", None)),
    )
    assert turns(log).startswith("ab" + "a-b-" + "b-a-")


def test_no_minimum_is_at_least_one_query() -> None:
    (found,) = measure([(id, [0])], min_seconds=0, min_queries=0, warmup_seconds=0)
    assert found.queries >= 1


def test_each_query_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still but for queries, and a nanosecond for looking at it."""

    class Clock:
        now = 0

        def __call__(self) -> int:
            self.now += 1
            return self.now

        def run(self, lasts_ns: int) -> None:
            self.now += lasts_ns

    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter_ns", clock)
    monkeypatch.setattr(latency, "REWARM_NS", 0)
    lasting = [1_000_000, 2_000_000, 5_000_000]
    (found,) = measure([(clock.run, lasting)], min_seconds=0, min_queries=9, warmup_seconds=0)
    assert found.warmup_queries == 2
    after_those = [lasting[(i + 2) % 3] + 1 for i in range(found.queries)]
    assert list(found.samples_ns) == after_those
    assert 100_000_000 <= sum(after_those) < 105_000_000  # one window, up to its last query
    assert found.duration_s == pytest.approx(sum(after_those) / 1e9)
