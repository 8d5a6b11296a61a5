"""Many artifacts in short turns: a few milliseconds each, as many rounds as a median needs."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Callable

from edgeticket.device_runner.latency import Run, quiet
from edgeticket.device_runner.probes.report import ProbeTime
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.windows import Windows, windows_of

MOST_QUERIES = 1 << 12  # of one turn


@dataclass(frozen=True)
class Pace:
    """How long probes are timed. A median of so many turns hides what disturbs two of them.

    No other round is begun once ``settled`` of all artifacts have turns that lie within
    ``agreement`` of their median, but for one: the next turn would say the same again.
    """

    rounds: int = 7
    fewest_rounds: int = 4
    settled: float = 0.9
    agreement: float = 0.02
    turn_ns: int = 4_000_000
    rewarm_ns: int = 1_000_000  # untimed start of each turn: the others have had the caches
    min_queries: int = 3  # of a turn, however long they are


@dataclass(frozen=True)
class Turns:
    """Times of all artifacts, in their order, and how steady the machine was meanwhile."""

    times: Sequence[ProbeTime]
    windows: Windows


def time_in_turns(
    artifacts: Sequence[tuple[Run, Any]],
    pace: Pace,
    *,
    progress: Callable[[float], None] = lambda share: None,
    watch: Callable[[], None] = lambda: None,
) -> Turns:
    """Time artifacts in turns; each round starts with another one.

    Args:
        artifacts: per artifact a function that answers one query, and the query.
        pace: how long.
        progress: told the share done between turns.
        watch: called between turns.
    """
    medians: list[list[int]] = [[] for _ in artifacts]
    lowest: list[int] = []
    counts = [0] * len(artifacts)
    for run, query in artifacts:
        run(query)
        lowest.append(1 << 62)
    order = list(range(len(artifacts)))
    done, total = 0, max(1, pace.rounds * len(artifacts))
    turns = 0
    for turn in range(pace.rounds):
        if turn >= pace.fewest_rounds and _agree(medians, pace):
            break
        turns += 1
        first = turn * len(order) // pace.rounds
        for i in order[first:] + order[:first]:
            times = _turn(*artifacts[i], pace)
            medians[i].append(times[len(times) // 2])
            lowest[i] = min(lowest[i], times[0])
            counts[i] += len(times)
            done += 1
            watch()
            progress(done / total)
    found = [
        ProbeTime(_middle(values), least, count, tuple(values))
        for values, least, count in zip(medians, lowest, counts)
    ]
    return Turns(found, steadiness([time.turns_ns for time in found], turns))


def _agree(medians: Sequence[Sequence[int]], pace: Pace) -> bool:
    """Whether most artifacts have been as fast in each turn, without their slowest."""
    agreeing = 0
    for values in medians:
        *ordered, _ = sorted(values)
        agreeing += ordered[-1] - ordered[0] <= pace.agreement * _middle(values)
    return agreeing >= pace.settled * len(medians)


def _turn(run: Run, query: Any, pace: Pace) -> list[int]:
    """The times of one turn, ascending."""
    clock = perf_counter_ns
    buffer = array("q", bytes(8 * MOST_QUERIES))
    with quiet():
        end = clock() + pace.rewarm_ns
        while True:
            run(query)
            if clock() >= end:
                break
        end = clock() + pace.turn_ns
        count = 0
        for _ in itertools.repeat(None, MOST_QUERIES):
            before = clock()
            run(query)
            after = clock()
            buffer[count] = after - before
            count += 1
            if after >= end and count >= pace.min_queries:
                break
    return sorted(buffer[:count])


def _middle(values: Sequence[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def steadiness(turns: Sequence[Sequence[int]], rounds: int) -> Windows:
    """How one and the same machine looked in each round: the median over artifacts of their time
    in it, relative to their own median. 1 ms stands for an unchanged machine."""
    scale = 1_000_000
    medians = []
    for at in range(rounds):
        ratios = sorted(
            values[at] / max(1, _middle(values)) for values in turns if len(values) == rounds
        )
        if ratios:
            medians.append(round(scale * ratios[len(ratios) // 2]))
    if not medians:
        missing = Unavailable("no artifact was timed")
        return Windows(rounds, missing, missing, missing)
    return windows_of(medians)
