"""Beginnings of a TFLite file: what takes longer with an operator more is that layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from edgeticket.device_runner.layers.report import Layer, LayerTimes, Sources
from edgeticket.device_runner.probes.turns import Pace, Turns, time_in_turns
from edgeticket.device_runner.runtimes import tflite
from edgeticket.device_runner.taps.tflite_bytes import cut_tflite, operator_names

LIMIT_BYTES = 512 * 2**20  # of beginnings in memory at a time: each has the file's weights
DELEGATE = "DELEGATE"


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
    model, place, threads = sources.model, sources.entry.id, sources.threads
    names = operator_names(model, place=place)
    most = max(2, min(96, LIMIT_BYTES // max(1, len(model))))
    medians: list[int] = []
    lowest: list[int] = []
    whole: list[Turns] = []
    start = 0
    while start < len(names):
        end = min(len(names), start + most)
        counts = ([start] if start else []) + list(range(start + 1, end + 1))
        progress("timing beginnings", start / len(names))
        runs = [
            _invoked(cut_tflite(model, count, place=place), sources, threads=threads)
            for count in counts
        ]
        timed = time_in_turns([*runs, (sources.session.query, sources.query)], pace, watch=watch)
        _extend(medians, [time.p50_ns for time in timed.times[:-1]])
        _extend(lowest, [time.min_ns for time in timed.times[:-1]])
        whole.append(timed)
        start = end
    progress("timing beginnings", 1.0)
    details = _details(model, threads=threads, place=place)
    layers, fastest = (
        tuple(
            Layer(name, kind, precision, by, float(time))
            for name, (kind, precision, by), time in zip(names, details, _steps(cumulative))
        )
        for cumulative in (medians, lowest)
    )
    return LayerTimes(whole[0].times[-1], layers, fastest, whole[0].windows)


def _extend(cumulative: list[int], found: list[int]) -> None:
    """Append a group; one after another begins with the last of it, as only differences count:
    the clock may be another."""
    shift = cumulative[-1] - found[0] if cumulative else 0
    cumulative += [time + shift for time in found[bool(cumulative) :]]


def _steps(cumulative: Sequence[float]) -> list[float]:
    rising = risen(cumulative)
    return [later - earlier for earlier, later in zip([0.0, *rising], rising)]


def _invoked(model: bytes, sources: Sources, *, threads: int) -> tuple[Callable[[Any], Any], None]:
    """What runs a file whose inputs are set, without any copies."""
    interpreter = tflite.open_interpreter(model, threads=threads, place=sources.entry.id)
    given = {details["name"]: details["index"] for details in interpreter.get_input_details()}
    for spec, tensor in zip(sources.entry.inputs, sources.query):
        if spec.name in given:
            interpreter.set_tensor(given[spec.name], tensor)
    kept = model  # the interpreter reads weights from these bytes while it lives

    def run(_: Any) -> None:
        assert kept
        interpreter.invoke()

    return run, None


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


def _details(model: bytes, *, threads: int, place: str) -> list[tuple[str, str, str]]:
    """Kind, precision, and who runs it, of each operator of the file."""
    interpreter = tflite.open_interpreter(model, threads=threads, place=place)
    if not hasattr(interpreter, "_get_ops_details"):
        return [("unknown", "unknown", "unknown")] * len(operator_names(model, place=place))
    operators = interpreter._get_ops_details()
    own = [one for one in operators if one["op_name"] != DELEGATE]
    makers = {int(index): i for i, one in enumerate(own) for index in one["outputs"]}
    delegated: set[int] = set()
    for delegate in (one for one in operators if one["op_name"] == DELEGATE):
        stops = set(map(int, delegate["inputs"]))
        waiting = [int(index) for index in delegate["outputs"]]
        while waiting:
            index = waiting.pop()
            at = makers.get(index)
            if index in stops or at is None or at in delegated:
                continue
            delegated.add(at)
            waiting += [int(source) for source in own[at]["inputs"] if source >= 0]
    return [
        (
            str(one["op_name"]),
            _precision(one["result_types"]),
            "XNNPACK" if i in delegated else "LiteRT",
        )
        for i, one in enumerate(own)
    ]


def _precision(types: Sequence[Any]) -> str:
    return "int8" if all(np.dtype(kind) in (np.int8, np.uint8) for kind in types) else "fp32"
