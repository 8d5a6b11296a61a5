"""What is left after minutes of load: latency minute by minute, and the minute that throttles.

Queries go on without a pause, as in SingleStream, for whole minutes. Of each minute a summary is
kept, of the last one all times, and the report's latency is of that one: the steady state. A board
that gets slower here says what it can sustain, so throttling is the finding and not a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any, Callable

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import Latency, Run, Stream, percentile, summarise
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import During, Watch

SUSTAINED = "Sustained"
MINUTE_S = 60.0

SLOWER = 0.10  # than the first minute: beyond what medians of a quiet machine differ by
SETTLED = 0.05  # the last minutes lie within this of one another
LAST = 3  # of so many minutes
CAPPED = 0.95  # of the first minute's clock
NOT_ASKED = Unavailable("it was not asked for (--sustain)")


def read_minutes(text: str) -> int:
    """``"30m"`` or ``"2h"`` -> whole minutes, from 2 to those of a day.

    Raises:
        InputError: it is no such time.
    """
    number, factor = text[:-1], {"m": 1, "h": 60}.get(text[-1:], 0)
    count = int(number) * factor if number.isascii() and number.isdecimal() else 0
    if not 2 <= count <= 1440:
        raise InputError(f"--sustain: {text!r} is not a time from 2m to 24h, like 30m")
    return count


@dataclass(frozen=True)
class Minute:
    """One minute of queries of one artifact, and the machine in it."""

    queries: int
    mean_ns: float  # with the queries that a quota or the firmware held up
    p50_ns: int | Unavailable
    p90_ns: int | Unavailable
    clock_hz: Mapping[str, float] | Unavailable  # median by cpufreq policy
    temperature_c: Mapping[str, float] | Unavailable  # highest by thermal zone
    signs: tuple[str, ...]  # of throttling that the machine itself gives


@dataclass(frozen=True)
class Sustained:
    """All minutes of one artifact, and what follows from them."""

    minute_s: float
    minutes: tuple[Minute, ...]
    throttled_minute: int | Unavailable  # the first, from 1
    throttled_by: str  # what showed it; "" where none did
    steady_p90_ns: int | Unavailable  # of the last minute, if the last minutes are alike


def sustained_of(minutes: Sequence[Minute], *, minute_s: float) -> Sustained:
    """Minutes in their order -> when it throttled, and what stays."""
    found = next(((i, by) for i, m in enumerate(minutes, 1) if (by := _slowed(minutes, m))), None)
    throttled: int | Unavailable = Unavailable("no minute is slower, or tells of throttling")
    return Sustained(
        minute_s,
        tuple(minutes),
        throttled if found is None else found[0],
        "" if found is None else found[1],
        _steady(minutes),
    )


def _slowed(minutes: Sequence[Minute], minute: Minute) -> str:
    """What shows that a minute was throttled, in words; "": nothing."""
    first = minutes[0]
    found = list(minute.signs)
    if not isinstance(first.clock_hz, Unavailable) and not isinstance(minute.clock_hz, Unavailable):
        found += [
            f"{policy} at {hertz / 1e6:.0f} instead of {first.clock_hz[policy] / 1e6:.0f} MHz"
            for policy, hertz in minute.clock_hz.items()
            if policy in first.clock_hz and hertz < CAPPED * first.clock_hz[policy]
        ]
    for name, was, now in (
        ("median", first.p50_ns, minute.p50_ns),
        ("mean", first.mean_ns, minute.mean_ns),
    ):
        if isinstance(was, Unavailable) or isinstance(now, Unavailable) or was <= 0:
            continue
        if now > (1 + SLOWER) * was:
            found.append(f"the {name} is {now / was - 1:.0%} above the first minute's")
    return "; ".join(found)


def _steady(minutes: Sequence[Minute]) -> int | Unavailable:
    last = minutes[-LAST:]
    if len(last) < LAST:
        return Unavailable(f"{len(minutes)} minutes do not tell it, {LAST} do")
    means = [minute.mean_ns for minute in last]
    spread = (max(means) - min(means)) / median(means)
    if spread > SETTLED:
        return Unavailable(f"the last {LAST} minutes still differ by {spread:.1%}: sustain longer")
    return last[-1].p90_ns


def measure_sustained(
    artifacts: Sequence[tuple[Run, Sequence[Any]]],
    *,
    minutes: int,
    warmup_seconds: float,
    watch: Watch,
    minute_s: float = MINUTE_S,
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Latency], list[Sustained]]:
    """Queries of all artifacts in turns, for whole minutes without a pause.

    They share the heat that they make; one alone shows what it can sustain by itself.

    Args:
        artifacts: as for `latency.measure`.
        minutes: from 2.
        warmup_seconds: untimed queries of each artifact before the first minute.
        watch: looks between turns, and tells of each minute.
        minute_s: how long one lasts.
        progress: told the share done between turns.
    """
    streams = [Stream(run, inputs) for run, inputs in artifacts]
    for stream in streams:
        stream.warm(int(warmup_seconds * 1e9))
    told: list[list[Minute]] = [[] for _ in streams]
    watch.segment()
    start = perf_counter_ns()
    for number in range(1, minutes + 1):
        end = start + int(number * minute_s * 1e9)
        for stream in streams:
            stream.forget()
        turn = 0
        while turn == 0 or perf_counter_ns() < end:
            first = turn % len(streams)
            for stream in streams[first:] + streams[:first]:
                stream.window()
                watch()
            turn += 1
            if progress is not None:
                progress(min(1.0, (perf_counter_ns() - start) / (minutes * minute_s * 1e9)))
        during = watch.segment()
        for stream, of_artifact in zip(streams, told):
            of_artifact.append(minute_of(stream.samples_ns, during))
    latencies = [
        summarise(stream.samples_ns, warmup_queries=stream.untimed, scenario=SUSTAINED)
        for stream in streams
    ]
    return latencies, [sustained_of(each, minute_s=minute_s) for each in told]


def minute_of(samples_ns: Sequence[int], during: During) -> Minute:
    """The times of one minute, and what was seen of the machine in it."""
    ordered = sorted(samples_ns)
    clocks, heat = during.clock_hz, during.temperature_c
    return Minute(
        queries=len(ordered),
        mean_ns=sum(ordered) / len(ordered),
        p50_ns=percentile(ordered, 0.5),
        p90_ns=percentile(ordered, 0.9),
        clock_hz=clocks
        if isinstance(clocks, Unavailable)
        else {name: span.median for name, span in clocks.items()},
        temperature_c=heat
        if isinstance(heat, Unavailable)
        else {name: span.highest for name, span in heat.items()},
        signs=_signs(during),
    )


def _signs(during: During) -> tuple[str, ...]:
    """What firmware, kernel and hardware say of themselves."""
    signs = []
    if not isinstance(during.conditions, Unavailable):
        signs += [f"vcgencmd get_throttled: {name}" for name in during.conditions]
    if not isinstance(during.cooling, Unavailable):
        signs += [
            f"the kernel slows down {name} (state {state})"
            for name, state in during.cooling.items()
            if state > 0
        ]
    if not isinstance(during.throttle_events, Unavailable):
        signs += [
            f"the hardware throttled: {name} {count} times"
            for name, count in during.throttle_events.items()
            if count > 0
        ]
    return tuple(signs)
