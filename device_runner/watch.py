"""Looks at the machine while a measurement runs: between timed calls, never within one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TypeVar

from edgeticket.device_runner.readings.clocks import find_policies, read_hertz, read_threads
from edgeticket.device_runner.readings.counters import Counters, read_counters
from edgeticket.device_runner.readings.heat import read_cooling, read_temperature
from edgeticket.device_runner.readings.source import Command
from edgeticket.device_runner.readings.throttling import read_throttling
from edgeticket.device_runner.unavailable import Unavailable

T = TypeVar("T")
U = TypeVar("U")
Number = TypeVar("Number", int, float)

INTERVAL_NS = 500_000_000
# The next look comes no earlier than this many times the duration of the last: on a board where
# a look starts a program, watching stays below half a percent of the time all the same.
REST = 200


@dataclass(frozen=True)
class Span:
    """What one value was over all looks."""

    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class During:
    """The machine from the first warm-up query to the last timed one."""

    duration_s: float
    looks: int
    looking_share: float  # of the duration, 0..1
    clock_hz: Mapping[str, Span] | Unavailable  # by the policies that its threads ran on
    temperature_c: Mapping[str, Span] | Unavailable
    conditions: tuple[str, ...] | Unavailable  # of `vcgencmd get_throttled`, seen by any look
    cooling: Mapping[str, int] | Unavailable  # highest state by cooling device
    other_load_cores: float | Unavailable  # of the CPUs that the measurement might use
    stolen_cores: float | Unavailable
    waited_share: float | Unavailable  # time that our threads waited for a CPU, 0..1
    swapped_pages: int | Unavailable
    throttle_events: Mapping[str, int] | Unavailable
    clock_step_s: float  # how far the wall clock was set, either way
    suspended_s: float | Unavailable


@dataclass(frozen=True)
class _Look:
    clock_hz: Mapping[str, float] | Unavailable
    temperature_c: Mapping[str, float] | Unavailable
    cooling: Mapping[str, int] | Unavailable
    conditions: tuple[str, ...] | Unavailable


class Watch:
    """Looks when it is called and a look is due; between looks it only reads the clock."""

    def __init__(self, root: Path, *, command: Command, cpus: Collection[int]) -> None:
        self._root, self._command, self._cpus = root, command, cpus
        self._looks: list[_Look] = []
        self._spent_ns = 0
        self._threads = read_threads(root)
        self._first = read_counters(root, cpus=cpus)
        self._segment = self._first, 0, 0  # counters, looks and time spent when it began
        self._due_ns = perf_counter_ns()

    def __call__(self) -> None:
        """Look, if it is time to."""
        if perf_counter_ns() >= self._due_ns:
            self.look_now()

    def look_now(self) -> None:
        """Look, due or not."""
        start = perf_counter_ns()
        self._looks.append(self._look())
        end = perf_counter_ns()
        self._spent_ns += end - start
        self._due_ns = end + max(INTERVAL_NS, REST * (end - start))

    def finish(self) -> During:
        """What happened since this watch was made."""
        last = read_counters(self._root, cpus=self._cpus)
        return summarise_watch(self._first, last, self._looks, spent_ns=self._spent_ns)

    def segment(self) -> During:
        """What happened since the last call of this, or since this watch was made."""
        first, looks, spent_ns = self._segment
        last = read_counters(self._root, cpus=self._cpus)
        self._segment = last, len(self._looks), self._spent_ns
        return summarise_watch(first, last, self._looks[looks:], spent_ns=self._spent_ns - spent_ns)

    def _look(self) -> _Look:
        # The clock first: all that follows is work that may change it.
        clocks = read_hertz(self._root, "scaling_cur_freq")
        before, self._threads = self._threads, read_threads(self._root)
        policies = find_policies(self._root, before, self._threads)
        throttling = read_throttling(self._command)
        return _Look(
            clock_hz=_own(clocks, policies),
            temperature_c=read_temperature(self._root),
            cooling=read_cooling(self._root),
            conditions=throttling if isinstance(throttling, Unavailable) else throttling.now,
        )


def summarise_watch(
    first: Counters, last: Counters, looks: list[_Look], *, spent_ns: int
) -> During:
    """Counters before and after, and the looks in between -> what happened."""
    duration_s = (last.steady_ns - first.steady_ns) / 1e9
    unseen = Unavailable("the measurement was too short for a look")
    stolen = _rise(first.stolen_s, last.stolen_s)
    waited = _rise(first.waited_s, last.waited_s)
    return During(
        duration_s=duration_s,
        looks=len(looks),
        looking_share=min(1.0, spent_ns / 1e9 / duration_s) if duration_s > 0 else 0.0,
        clock_hz=_by_name([look.clock_hz for look in looks], _span_of, unseen),
        temperature_c=_by_name([look.temperature_c for look in looks], _span_of, unseen),
        conditions=_union([look.conditions for look in looks], unseen),
        cooling=_by_name([look.cooling for look in looks], max, unseen),
        other_load_cores=_other_load(first, last, duration_s),
        stolen_cores=stolen if isinstance(stolen, Unavailable) else _share(stolen, duration_s),
        waited_share=waited if isinstance(waited, Unavailable) else _share(waited, duration_s),
        swapped_pages=_rise(first.swapped_pages, last.swapped_pages),
        throttle_events=_events(first.throttle_events, last.throttle_events),
        clock_step_s=_step(first, last),
        suspended_s=_suspended(first, last),
    )


LEAST_S = 0.2  # the kernel counts CPU time in steps of 0.01 s


def _other_load(first: Counters, last: Counters, duration_s: float) -> float | Unavailable:
    busy = _rise(first.busy_s, last.busy_s)
    if isinstance(busy, Unavailable):
        return busy
    if duration_s < LEAST_S:
        return Unavailable(f"{duration_s:.2f} s are too short to tell what else ran")
    own = last.own_cpu_s - first.own_cpu_s
    if busy == 0 and own > LEAST_S:
        return Unavailable("proc/stat stands still, though this process ran")
    return max(0.0, busy - own) / duration_s


def _step(first: Counters, last: Counters) -> float:
    """NTP slews both clocks alike, so a difference is a step that somebody made."""
    return ((last.wall_ns - first.wall_ns) - (last.steady_ns - first.steady_ns)) / 1e9


def _suspended(first: Counters, last: Counters) -> float | Unavailable:
    if isinstance(first.boot_ns, Unavailable) or isinstance(last.boot_ns, Unavailable):
        return Unavailable("this system has no clock that goes on in suspend")
    return max(0.0, ((last.boot_ns - first.boot_ns) - (last.steady_ns - first.steady_ns)) / 1e9)


def _own(
    clocks: Mapping[str, int] | Unavailable, policies: tuple[str, ...] | Unavailable
) -> Mapping[str, float] | Unavailable:
    if isinstance(clocks, Unavailable):
        return clocks
    if isinstance(policies, Unavailable):
        return policies
    known = {policy: float(clocks[policy]) for policy in policies if policy in clocks}
    return known or Unavailable(f"{', '.join(policies)} does not tell its clock")


def _span_of(values: list[float]) -> Span:
    ordered = sorted(values)
    return Span(ordered[0], ordered[len(ordered) // 2], ordered[-1])


def _by_name(
    looks: Sequence[Mapping[str, T] | Unavailable],
    combine: Callable[[list[T]], U],
    unseen: Unavailable,
) -> Mapping[str, U] | Unavailable:
    known = [look for look in looks if not isinstance(look, Unavailable)]
    if not known:
        return next((look for look in looks if isinstance(look, Unavailable)), unseen)
    names = dict.fromkeys(name for look in known for name in look)
    return {name: combine([look[name] for look in known if name in look]) for name in names}


def _union(
    looks: list[tuple[str, ...] | Unavailable], unseen: Unavailable
) -> tuple[str, ...] | Unavailable:
    known = [look for look in looks if not isinstance(look, Unavailable)]
    if not known:
        return next((look for look in looks if isinstance(look, Unavailable)), unseen)
    return tuple(dict.fromkeys(name for look in known for name in look))


def _events(
    first: Mapping[str, int] | Unavailable, last: Mapping[str, int] | Unavailable
) -> Mapping[str, int] | Unavailable:
    if isinstance(first, Unavailable):
        return first
    if isinstance(last, Unavailable):
        return last
    return {name: last[name] - count for name, count in first.items() if name in last}


def _share(seconds: float, duration_s: float) -> float:
    return seconds / duration_s if duration_s > 0 else 0.0


def _rise(first: Number | Unavailable, last: Number | Unavailable) -> Number | Unavailable:
    if isinstance(first, Unavailable):
        return first
    if isinstance(last, Unavailable):
        return last
    return max(last - first, type(last)(0))
