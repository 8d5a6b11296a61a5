"""Beginnings of a file, each an operator longer: what takes longer with one more is that layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable

from edgeticket.device_runner.layers.beginnings import OnnxBeginnings, TfliteBeginnings
from edgeticket.device_runner.layers.report import Beginnings, Layer, LayerTimes, Sources
from edgeticket.device_runner.probes.turns import Pace, Turns, time_in_turns

LIMIT_BYTES = 512 * 2**20  # of beginnings in memory at a time: each has the file's weights
MOST = 96


def time_by_prefixes(
    sources: Sources,
    pace: Pace,
    progress: Callable[[str, float], None],
    watch: Callable[[], None],
) -> LayerTimes:
    """Time all beginnings side by side; inputs are set once, outputs stay where they are.

    In groups, where they are too large together; each begins with the one before it. What an
    operator adds is never negative: times of beginnings are made to rise first.
    """
    file = BEGINNINGS[sources.entry.runtime](sources)
    most = max(2, min(MOST, LIMIT_BYTES // max(1, len(sources.model))))
    medians: list[int] = []
    lowest: list[int] = []
    groups: list[Turns] = []
    layers: list[Layer] = []
    for start in range(0, file.count, most):
        end = min(file.count, start + most)
        progress("timing beginnings", start / file.count)
        runs: list[tuple[Callable[[Any], Any], Any]] = []
        if start:
            runs.append((file.begin(start)[0], None))
        for count in range(start + 1, end + 1):
            run, layer = file.begin(count)
            runs.append((run, None))
            layers.append(layer)
        runs.append((sources.session.query, sources.query))
        timed = time_in_turns(runs, pace, watch=watch)
        _extend(medians, [time.p50_ns for time in timed.times[:-1]])
        _extend(lowest, [time.min_ns for time in timed.times[:-1]])
        groups.append(timed)
    progress("timing beginnings", 1.0)
    by_median, fastest = (
        tuple(replace(layer, time_ns=time) for layer, time in zip(layers, _steps(cumulative)))
        for cumulative in (medians, lowest)
    )
    return LayerTimes(groups[0].times[-1], by_median, fastest, groups[0].windows)


def _extend(cumulative: list[int], found: list[int]) -> None:
    """Append a group; one after another begins with the last of it, as only differences count:
    the clock may be another."""
    shift = cumulative[-1] - found[0] if cumulative else 0
    cumulative += [time + shift for time in found[bool(cumulative) :]]


def _steps(cumulative: Sequence[float]) -> list[float]:
    rising = risen(cumulative)
    return [later - earlier for earlier, later in zip([0.0, *rising], rising)]


def risen(values: Sequence[float]) -> list[float]:
    """The rising numbers that are nearest (pool adjacent violators: Barlow et al. 1972)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, several = blocks.pop()
            mean = (before * several + mean * count) / (several + count)
            count += several
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


BEGINNINGS: Mapping[str, Callable[[Sources], Beginnings]] = {
    "ort": OnnxBeginnings,
    "tflite": TfliteBeginnings,
}
