"""SingleStream latency: the next query starts when the last one has returned.

Method after MLPerf Inference (Reddi et al. 2020): explicit warm-up, a minimum time and a minimum
count that must both be met, nearest-rank percentiles, and no percentile from fewer queries than
its early-stopping bound asks for. Results are not MLPerf results.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Callable

from edgeticket.device_runner.unavailable import Unavailable

MIN_SECONDS = 2.0  # per artifact, what `bench` takes unless told otherwise
MIN_QUERIES = 700  # likewise; p99 needs 662
WARMUP_SECONDS = 0.5  # likewise

SINGLE_STREAM = "SingleStream"

CONFIDENCE = 0.99
WINDOW_NS = 100_000_000  # artifacts take turns of this length
REWARM_NS = 5_000_000  # untimed start of each turn: the others have had the caches
WINDOW_QUERIES = 1 << 15  # a turn ends here at the latest; its times are stored beforehand

Run = Callable[[Any], Any]


@dataclass(frozen=True)
class Latency:
    """All timed queries of one artifact and their summary."""

    scenario: str
    warmup_queries: int
    queries: int
    duration_s: float
    samples_ns: tuple[int, ...]
    min_ns: int
    mean_ns: float
    p50_ns: int | Unavailable
    p90_ns: int | Unavailable
    p99_ns: int | Unavailable


@functools.cache
def smallest_count(share: float) -> int:
    """Fewest queries from which the percentile ``share`` (0..1) may be told.

    MLPerf's early-stopping criterion with one query allowed above the percentile: the smallest
    n with sum_{i<=1} C(n, i) (1-p)^i p^(n-i) <= 1 - confidence. Gives 11, 64 and 662 for
    p50, p90 and p99.
    """
    n = 2
    while share**n + n * (1 - share) * share ** (n - 1) > 1 - CONFIDENCE:
        n += 1
    return n


def percentile(ordered: Sequence[int], share: float) -> int | Unavailable:
    """Nearest rank ``ordered[floor(n * share)]`` of ascending samples."""
    needed = smallest_count(share)
    if len(ordered) < needed:
        return Unavailable(f"p{share * 100:g} needs {needed} queries, {len(ordered)} were timed")
    return ordered[math.floor(len(ordered) * share)]


def summarise(
    samples_ns: Sequence[int], *, warmup_queries: int, scenario: str = SINGLE_STREAM
) -> Latency:
    """Timed queries in order of execution (at least one) -> latency."""
    ordered = sorted(samples_ns)
    total = sum(ordered)
    return Latency(
        scenario=scenario,
        warmup_queries=warmup_queries,
        queries=len(ordered),
        duration_s=total / 1e9,
        samples_ns=tuple(samples_ns),
        min_ns=ordered[0],
        mean_ns=total / len(ordered),
        p50_ns=percentile(ordered, 0.5),
        p90_ns=percentile(ordered, 0.9),
        p99_ns=percentile(ordered, 0.99),
    )


def measure(
    artifacts: Sequence[tuple[Run, Sequence[Any]]],
    *,
    min_seconds: float,
    min_queries: int,
    warmup_seconds: float,
    progress: Callable[[float], None] | None = None,
    watch: Callable[[], None] = lambda: None,
    scenario: str = SINGLE_STREAM,
) -> list[Latency]:
    """Time several artifacts side by side, so that ratios of their latencies are fair.

    They take turns in short windows, and each round starts with the next one of them: drift of
    clock and temperature hits all alike. All go on until the last one has enough.

    Args:
        artifacts: per artifact a function that answers one query, and the inputs to cycle
            through, ready to be passed to it.
        min_seconds: sum of timed queries that each must reach...
        min_queries: ...and their number, too.
        warmup_seconds: untimed queries of each artifact before the first round.
        progress: told the share done, 0..1, between windows and never within one.
        watch: called between windows; the start of the next one is untimed.
        scenario: what to call it.
    """
    streams = [Stream(run, inputs) for run, inputs in artifacts]
    for stream in streams:
        stream.warm(int(warmup_seconds * 1e9))
    for turn in itertools.count():
        share = min(stream.share_done(min_seconds, min_queries) for stream in streams)
        if progress is not None:
            progress(share)
        if share >= 1:
            break
        first = turn % len(streams)
        for stream in streams[first:] + streams[:first]:
            stream.window()
            watch()
    return [
        summarise(stream.samples_ns, warmup_queries=stream.untimed, scenario=scenario)
        for stream in streams
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No garbage is collected meanwhile: that is no part of any query."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Stream:
    """The queries of one artifact, and the times they took."""

    def __init__(self, run: Run, inputs: Sequence[Any]) -> None:
        self._run = run
        self._inputs = itertools.cycle(inputs)
        self._buffer = array("q", bytes(8 * WINDOW_QUERIES))
        self.samples_ns = array("q")
        self.timed_ns = 0
        self.untimed = 0

    def share_done(self, min_seconds: float, min_queries: int) -> float:
        enough = max(min_queries, 1)
        seconds = self.timed_ns / (min_seconds * 1e9) if min_seconds > 0 else 1.0
        return min(1.0, seconds, len(self.samples_ns) / enough)

    def warm(self, duration_ns: int) -> None:
        """Queries without times, at least one."""
        end = perf_counter_ns() + duration_ns
        while True:
            self._run(next(self._inputs))
            self.untimed += 1
            if perf_counter_ns() >= end:
                return

    def forget(self) -> None:
        """Begin anew: what was timed so far is not kept."""
        self.samples_ns = array("q")
        self.timed_ns = 0

    def window(self) -> None:
        """One turn: untimed queries, then timed ones into the buffer, then store them."""
        with quiet():
            self.warm(REWARM_NS)
            count = _time(self._run, self._inputs, self._buffer)
        times = self._buffer[:count]
        self.samples_ns.extend(times)
        self.timed_ns += sum(times)


def _time(run: Run, inputs: itertools.cycle[Any], buffer: array[int]) -> int:
    """The timed loop -> number of queries. Nothing but queries and two clock readings each."""
    clock = perf_counter_ns
    end = clock() + WINDOW_NS
    count = 0
    for x in inputs:
        before = clock()
        run(x)
        after = clock()
        buffer[count] = after - before
        count += 1
        if after >= end or count == WINDOW_QUERIES:
            break
    return count
