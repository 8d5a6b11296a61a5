"""Energy per inference, in a part of its own: what reads a sensor would disturb latencies."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeticket.device_runner.energy.meter import MeterLog
from edgeticket.device_runner.energy.sensors import Sensor, find_sensors
from edgeticket.device_runner.readings.source import Command
from edgeticket.device_runner.unavailable import Unavailable

SECONDS = 2.0  # per artifact, unless told otherwise; as long before all of them for idle power
INTERVAL_S = 0.05
REST = 20  # readings start programs on some boards: at most a twentieth of the time goes there

Run = Callable[[Any], Any]


@dataclass(frozen=True)
class SourceEnergy:
    """What one sensor or meter says; ``scope``: what its number covers."""

    source: str
    scope: str
    mean_w: float
    idle_w: float | Unavailable
    per_inference_j: float
    above_idle_j: float | Unavailable  # per inference


@dataclass(frozen=True)
class Interval:
    """From one Unix time to another."""

    started_ns: int
    ended_ns: int


@dataclass(frozen=True)
class Energy:
    """Inferences one after another for some seconds, after some seconds of idling."""

    idle: Interval
    load: Interval
    inferences: int
    sources: tuple[SourceEnergy, ...]
    missing: Mapping[str, str]  # sensor or meter -> why it said nothing


def measure_energy(
    artifacts: Sequence[tuple[Run, Sequence[Any]]],
    *,
    seconds: float | None,
    root: Path,
    command: Command,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Energy | Unavailable]:
    """Idle once, then run each artifact by itself while sensors are read.

    Args:
        artifacts: as for `device_runner.latency.measure`.
        seconds: per artifact; None: `SECONDS` if there is a sensor, else not at all.
        root, command: where sensors are looked for, and how programs are run.
        progress: told the share done, 0..1.
    """
    sensors, missing = find_sensors(root, command=command)
    if seconds == 0 or (seconds is None and not sensors):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        why = "it was not asked for" if seconds == 0 else f"there is no power sensor ({reasons})"
        return [Unavailable(why) for _ in artifacts]
    lasting = SECONDS if seconds is None else seconds
    steps = len(artifacts) + 1
    progress(0.0)
    idle, _, idle_w = _sampled(sensors, _rest, lasting)
    found: list[Energy | Unavailable] = []
    for done, (run, inputs) in enumerate(artifacts, 1):
        progress(done / steps)
        load, count, load_w = _sampled(sensors, _worker(run, inputs), lasting)
        quiet = {s.source: "it gave no reading" for s in sensors if s.source not in load_w}
        energy = Energy(idle, load, count, (), {**missing, **quiet})
        for sensor in sensors:
            if sensor.source in load_w:
                rest = idle_w.get(sensor.source)
                told = Unavailable("it gave no reading at rest") if rest is None else rest
                energy = _add(energy, sensor.source, sensor.scope, load_w[sensor.source], told)
        found.append(energy)
    progress(1.0)
    return found


def add_meter(energy: Energy, log: MeterLog) -> Energy:
    """The same with what an external meter says of the two intervals."""
    source = f"meter {log.name}"
    kept = tuple(s for s in energy.sources if s.source != source)
    others = {name: why for name, why in energy.missing.items() if name != source}
    mean_w = log.mean_w(energy.load.started_ns, energy.load.ended_ns)
    if isinstance(mean_w, Unavailable):
        return replace(energy, sources=kept, missing={**others, source: mean_w.reason})
    idle_w = log.mean_w(energy.idle.started_ns, energy.idle.ended_ns)
    cleared = replace(energy, sources=kept, missing=others)
    return _add(cleared, source, "all that the meter feeds", mean_w, idle_w)


def _add(
    energy: Energy, source: str, scope: str, mean_w: float, idle_w: float | Unavailable
) -> Energy:
    seconds = (energy.load.ended_ns - energy.load.started_ns) / 1e9
    per_inference_s = seconds / energy.inferences
    above: float | Unavailable = Unavailable("power at rest is unknown")
    if not isinstance(idle_w, Unavailable):
        above = (mean_w - idle_w) * per_inference_s
    told = SourceEnergy(source, scope, mean_w, idle_w, mean_w * per_inference_s, above)
    return replace(energy, sources=(*energy.sources, told))


def _sampled(
    sensors: Sequence[Sensor], act: Callable[[float], int], seconds: float
) -> tuple[Interval, int, Mapping[str, float]]:
    """Do something until a time while sensors are read: when, how often, mean power by source."""
    readings: dict[str, list[float]] = {sensor.source: [] for sensor in sensors}
    stop = threading.Event()

    def sample() -> None:
        pause = INTERVAL_S
        for sensor in sensors:
            sensor.read_w()  # counters begin here
        while not stop.wait(pause):
            start = time.perf_counter()
            for sensor in sensors:
                power = sensor.read_w()
                if not isinstance(power, Unavailable):
                    readings[sensor.source].append(power)
            pause = max(INTERVAL_S, REST * (time.perf_counter() - start))

    reader = threading.Thread(target=sample, daemon=True)
    started_ns = time.time_ns()
    reader.start()
    try:
        count = act(time.perf_counter() + seconds)
    finally:
        stop.set()
        reader.join()
    interval = Interval(started_ns, time.time_ns())
    return interval, count, {name: sum(w) / len(w) for name, w in readings.items() if w}


def _rest(end: float) -> int:
    time.sleep(max(0.0, end - time.perf_counter()))
    return 0


def _worker(run: Run, inputs: Sequence[Any]) -> Callable[[float], int]:
    queries = itertools.cycle(inputs)

    def work(end: float) -> int:
        count = 0
        while count == 0 or time.perf_counter() < end:
            run(next(queries))
            count += 1
        return count

    return work
