"""The runner's p50 and p90 against MLPerf's load generator, over the same session and samples.

    pip install mlcommons-loadgen
    python benchmarks/loadgen.py BUNDLE

LoadGen's SingleStream scenario issues queries to the very ``run`` that the runner times; each
latency is what LoadGen itself logged. Both take turns of ``--seconds`` within one process, the
first of each round changing, and the ratios of each round's percentiles are told by their median:
what else the machine does hits both. The goal is within 3 %. LoadGen's own cost from query to
query, a call through its Python binding, is part of what it measures. Without its package, a
sentence says so.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import mlperf_loadgen as loadgen
except ModuleNotFoundError:
    print("not compared: MLPerf's load generator is not installed (pip install mlcommons-loadgen)")
    sys.exit(0)

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.latency import Run, measure, quiet
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.subjects import load_subject

RANKS = (50, 90)
LEAST_QUERIES = 64  # p90 needs them


def main() -> None:
    """Print one line per artifact: percentiles of both in microseconds, and their ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="bundle folder or .zip")
    parser.add_argument("--rounds", type=int, default=15, help="turns each (default: 15)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn (default: 0.3)")
    parser.add_argument("--artifact", help="only this one")
    options = parser.parse_args()
    print(f"{'artifact':24} {'p50 runner':>11} {'LoadGen':>9} {'ratio':>7}", end=" ")
    print(f"{'p90 runner':>11} {'LoadGen':>9} {'ratio':>7}")
    with open_bundle(options.bundle) as bundle:
        inputs = bundle.inputs()
        for entry in select(bundle.manifest, artifact=options.artifact).chosen:
            subject = load_subject(bundle, entry, inputs, threads=1, batch=1, cpu_only=True)
            ours, theirs = compare(
                subject.run, subject.singles, rounds=options.rounds, seconds=options.seconds
            )
            cells = []
            for i in range(len(RANKS)):
                ratio = statistics.median(a[i] / b[i] for a, b in zip(ours, theirs, strict=True))
                told = [statistics.median(found[i] for found in both) for both in (ours, theirs)]
                cells.append(f"{told[0] / 1e3:11.1f} {told[1] / 1e3:9.1f} {ratio:7.3f}")
            print(f"{entry.id:24} {' '.join(cells)}", flush=True)


Percentiles = tuple[int, ...]


def compare(
    run: Run, inputs: Sequence[Any], *, rounds: int, seconds: float
) -> tuple[list[Percentiles], list[Percentiles]]:
    """p50 and p90 in nanoseconds of each round, by the runner and by LoadGen."""
    found: dict[str, list[Percentiles]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for who in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            if who == "ours":
                found[who].append(by_runner(run, inputs, seconds))
            else:
                found[who].append(by_loadgen(run, inputs, seconds))
    return found["ours"], found["theirs"]


def by_runner(run: Run, inputs: Sequence[Any], seconds: float) -> Percentiles:
    """As `device-runner bench` times it."""
    (found,) = measure(
        [(run, inputs)], min_seconds=seconds, min_queries=LEAST_QUERIES, warmup_seconds=0.01
    )
    assert isinstance(found.p50_ns, int)
    assert isinstance(found.p90_ns, int)
    return found.p50_ns, found.p90_ns


def by_loadgen(run: Run, inputs: Sequence[Any], seconds: float) -> Percentiles:
    """A performance run of LoadGen's SingleStream, read from its summary."""

    def issue(queries: list[int], indices: list[int]) -> None:
        run(inputs[indices[0]])
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(queries[0], 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(seconds * 1000)
    settings.min_query_count = LEAST_QUERIES
    settings.single_stream_expected_latency_ns = 200_000  # how many queries it prepares
    with tempfile.TemporaryDirectory() as folder:
        logs = loadgen.LogSettings()
        output = loadgen.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        logs.log_output, logs.enable_trace = output, False
        system = loadgen.ConstructFastSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(
            len(inputs), len(inputs), lambda indices: None, lambda indices: None
        )
        with quiet():  # as the runner: collecting garbage is no part of an inference
            loadgen.StartTestWithLogSettings(system, library, settings, logs)
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    line = r"^{}\.00 percentile latency.*: (\d+)$"
    told = [re.search(line.format(rank), summary, re.MULTILINE) for rank in RANKS]
    return tuple(int(match[1]) for match in told if match)


if __name__ == "__main__":
    main()
