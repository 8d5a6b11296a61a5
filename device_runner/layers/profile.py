"""ONNX Runtime's own profile: one line for each kernel of each query."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import Layer, LayerTimes, Sources
from edgeticket.device_runner.probes.turns import Pace, time_in_turns
from edgeticket.device_runner.runtimes import ort

MOST_EVENTS = 500_000  # half of what a profile holds
QUERIES = 20, 2000  # at least, at most
HALF_NS = 500  # times are whole microseconds, cut off: half of one is missing on average
CODES = ("uint8", "int8")
Summary = Callable[[list[float]], float]
_SUFFIX = re.compile(r"(_kernel_time|_nchwc|_token_\d+|_nhwc)+$")


def time_by_profile(
    sources: Sources,
    pace: Pace,
    progress: Callable[[str, float], None],
    watch: Callable[[], None],
) -> LayerTimes:
    """Queries with a profile, between turns of the same file without one.

    A kernel's time is the mean of the middle half of its queries, or of the fastest tenth, less
    what profiling costs: a query takes longer by so much, in equal parts for each kernel.

    Raises:
        InputError: the runtime's profile has no kernels.
    """
    names = [spec.name for spec in sources.entry.inputs]
    feeds = dict(zip(names, sources.query))
    with tempfile.TemporaryDirectory() as folder:
        _, session = ort.open_profiled(
            sources.model, threads=sources.threads, place=sources.entry.id,
            profile=Path(folder) / "profile",
        )  # fmt: skip
        progress("timing the whole", 0.0)
        artifacts = [(sources.session.query, sources.query)]
        first = time_in_turns(artifacts, pace, watch=watch)
        before = perf_counter_ns()
        session.run(None, feeds)
        one = max(1, perf_counter_ns() - before)
        wanted = pace.rounds * pace.turn_ns * 10 // one
        count = max(QUERIES[0], min(QUERIES[1], wanted))
        progress("profiling", 0.5)
        for i in range(count):
            session.run(None, feeds)
            if i % 16 == 0:
                watch()
        events = json.loads(Path(session.end_profiling()).read_bytes())
    (time,) = first.times
    summaries = (middle_mean, time.p50_ns), (lowest_mean, time.min_ns)
    found, overheads = [], []
    for summarise, whole_ns in summaries:
        layers = layers_of(events, summarise)
        if not layers:
            raise InputError(f"{sources.entry.id}: the runtime's profile has no kernels")
        overhead_ns = max(0.0, run_of(events, summarise) - whole_ns) / len(layers)
        overheads.append(overhead_ns)
        found.append(
            tuple(replace(one, time_ns=max(0.0, one.time_ns - overhead_ns)) for one in layers)
        )
    progress("profiling", 1.0)
    return LayerTimes(time, found[0], found[1], first.windows, (overheads[0], overheads[1]))


def run_of(events: list[dict[str, Any]], summarise: Summary) -> float:
    """What a query takes while it is profiled; 0 where the profile does not tell."""
    runs = [event["dur"] * 1e3 for event in events if event.get("name") == "model_run"]
    return summarise(runs) if runs else 0.0


def layers_of(events: list[dict[str, Any]], summarise: Summary) -> tuple[Layer, ...]:
    """A profile's events -> kernels in order of execution; names are those of the file.

    ``summarise``: all times of a kernel -> one.
    """
    times: dict[str, list[float]] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    names: dict[str, str] = {}
    for event in events:
        args = event.get("args", {})
        if event.get("cat") != "Node" or "op_name" not in args or "dur" not in event:
            continue
        if not str(event.get("name", "")).endswith("_kernel_time"):
            continue
        key = str(args.get("node_index", event["name"]))
        times.setdefault(key, []).append(float(event["dur"]) * 1e3 + HALF_NS)
        facts.setdefault(key, args)
        names.setdefault(key, _SUFFIX.sub("", str(event["name"])))
    return tuple(
        Layer(
            name=names[key] or str(facts[key]["op_name"]),
            kind=str(facts[key]["op_name"]),
            precision=_precision(facts[key]),
            by=str(facts[key].get("provider", "")).replace("ExecutionProvider", "") or "unknown",
            time_ns=summarise(found),
        )
        for key, found in times.items()
    )


def middle_mean(values: list[float]) -> float:
    """The mean of what lies between the quartiles: what disturbed a few queries does not count."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    kept = ordered[quarter : len(ordered) - quarter]
    return sum(kept) / len(kept)


def lowest_mean(values: list[float]) -> float:
    """The mean of the fastest tenth."""
    kept = sorted(values)[: max(1, len(values) // 10)]
    return sum(kept) / len(kept)


def _precision(facts: Mapping[str, Any]) -> str:
    outputs = facts.get("output_type_shape") or [{}]
    kinds = [kind for output in outputs if isinstance(output, dict) for kind in output]
    return "int8" if kinds and all(kind in CODES for kind in kinds) else "fp32"
