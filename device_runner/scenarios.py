"""How queries are issued, and what is said about them beyond latency.

*SingleStream*: the next query when the last has returned. *Offline*: everything at hand at once,
so throughput counts. *Paced*: frames arrive at a fixed rate, as a camera's do.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from edgeticket.device_runner.latency import Latency, Run, quiet, summarise
from edgeticket.device_runner.unavailable import Unavailable

OFFLINE, PACED = "Offline", "Paced"

BATCH = 16  # samples in a query of the Offline scenario, where the file takes more than one
ONE_BY_ONE = "single queries, one after another"
SLACK_NS = 5_000_000  # looks and words about progress need at least so much before the next frame


@dataclass(frozen=True)
class Throughput:
    """Samples per second; ``how`` they were grouped."""

    per_s: float
    batch: int
    how: str


@dataclass(frozen=True)
class Deadlines:
    """A frame misses its deadline if its answer comes after the next frame was due."""

    rate_hz: float
    missed: int
    missed_share: float  # 0..1


def tell_throughput(latency: Latency, *, batch: int, how: str, rate_hz: float | None) -> Throughput:
    """Samples per second; of paced frames from the first one due to the last answer."""
    seconds = latency.duration_s
    if rate_hz is not None:
        seconds = (latency.queries - 1) / rate_hz + latency.samples_ns[-1] / 1e9
    # A clock of coarse steps may see no time pass at all.
    return Throughput(batch * latency.queries / max(seconds, 1e-9), batch, how)


def tell_deadlines(latency: Latency, *, rate_hz: float | None) -> Deadlines | Unavailable:
    """How many frames came too late."""
    if rate_hz is None:
        return Unavailable(f"{latency.scenario} has no deadlines: ask for a rate")
    missed = sum(late_ns > 1e9 / rate_hz for late_ns in latency.samples_ns)
    return Deadlines(rate_hz, missed, missed / latency.queries)


def measure_paced(
    artifacts: Sequence[tuple[Run, Sequence[Any]]],
    *,
    rate_hz: float,
    min_seconds: float,
    min_queries: int,
    warmup_seconds: float,
    progress: Callable[[float], None] | None = None,
    watch: Callable[[], None] = lambda: None,
) -> list[Latency]:
    """Frames at a fixed rate, artifact after artifact.

    Each latency counts from the moment when the frame was *due*, so a frame that had to wait for
    slow ones before it carries that wait (no coordinated omission), and no frame is dropped. The
    process sleeps until a frame is due; what the system takes to wake it is part of the latency,
    as it is for whoever waits for a camera.

    Args:
        artifacts: as for `measure`.
        rate_hz: frames per second.
        min_seconds, min_queries: per artifact, and both are reached.
        warmup_seconds: untimed queries of each artifact before its first frame.
        progress, watch: called while there is time before the next frame, and else never.
    """
    count = max(min_queries, math.ceil(min_seconds * rate_hz), 1)
    found = []
    for done, (run, inputs) in enumerate(artifacts):
        tell = _share_of(progress, done, len(artifacts))
        queries = itertools.cycle(inputs)
        warm = _warm(run, queries, duration_ns=int(warmup_seconds * 1e9))
        with quiet():
            samples = _paced(run, queries, count, 1e9 / rate_hz, tell, watch)
        found.append(summarise(samples, warmup_queries=warm, scenario=PACED))
    if progress is not None:
        progress(1.0)
    return found


def _paced(
    run: Run,
    queries: itertools.cycle[Any],
    count: int,
    period_ns: float,
    tell: Callable[[float], None],
    watch: Callable[[], None],
) -> list[int]:
    clock = perf_counter_ns
    samples = [0] * count
    before = clock()
    watch()
    tell(0.0)
    slack_ns = max(SLACK_NS, 2 * (clock() - before))  # a look may have to start a program
    start = clock() + int(period_ns)
    for i in range(count):
        due = start + round(i * period_ns)
        if due - clock() > slack_ns:
            watch()
            tell(i / count)
        x = next(queries)
        wait_ns = due - clock()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        run(x)
        samples[i] = clock() - due
    return samples


def _warm(run: Run, queries: itertools.cycle[Any], *, duration_ns: int) -> int:
    end = perf_counter_ns() + duration_ns
    count = 0
    while count == 0 or perf_counter_ns() < end:
        run(next(queries))
        count += 1
    return count


def _share_of(
    progress: Callable[[float], None] | None, done: int, total: int
) -> Callable[[float], None]:
    if progress is None:
        return lambda share: None
    return lambda share: progress((done + share) / total)
