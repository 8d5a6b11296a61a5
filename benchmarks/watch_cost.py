"""What watching costs: the runner's times with and without looks at the machine.

    python benchmarks/watch_cost.py BUNDLE

Turns of 0.1 s after a look, five times as often as `device-runner bench` looks, alternate
with turns without, in one process. Printed are the ratio of both p50 and p90, whose goal is below
1.01, and the share of a real measurement's time that goes to looks.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.latency import Latency, Run, measure
from edgeticket.device_runner.readings import run_command
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.subjects import load_subject
from edgeticket.device_runner.watch import Watch

RANKS = ("p50_ns", "p90_ns")


def main() -> None:
    """Print one line per artifact: ratios with and without looks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="bundle folder or .zip")
    parser.add_argument("--rounds", type=int, default=60, help="turns each (default: 60)")
    parser.add_argument("--artifact", help="only this one")
    options = parser.parse_args()
    print(f"{'artifact':24} {'p50 ratio':>10} {'p90 ratio':>10} {'looking share':>14}")
    with open_bundle(options.bundle) as bundle:
        inputs = bundle.inputs()
        for entry in select(bundle.manifest, artifact=options.artifact).chosen:
            subject = load_subject(bundle, entry, inputs, threads=1, batch=1, cpu_only=True)
            ratios = compare(subject.run, subject.singles, rounds=options.rounds)
            share = looking_share(subject.run, subject.singles)
            print(f"{entry.id:24} {ratios[0]:10.4f} {ratios[1]:10.4f} {share:14.4%}", flush=True)


def compare(run: Run, inputs: Sequence[Any], *, rounds: int) -> list[float]:
    """Median over rounds of watched / unwatched, for p50 and p90."""
    watch = Watch(Path("/"), command=run_command, cpus=os.sched_getaffinity(0))
    found: dict[bool, list[Latency]] = {True: [], False: []}
    for turn in range(rounds):
        for watched in (True, False) if turn % 2 else (False, True):
            if watched:
                watch.look_now()
            found[watched] += measure(
                [(run, inputs)], min_seconds=0, min_queries=64, warmup_seconds=0
            )
    return [
        statistics.median(
            getattr(a, rank) / getattr(b, rank)
            for a, b in zip(found[True], found[False], strict=True)
        )
        for rank in RANKS
    ]


def looking_share(run: Run, inputs: Sequence[Any]) -> float:
    """Share of the time that `bench` spends on looks in two seconds' measurement."""
    watch = Watch(Path("/"), command=run_command, cpus=os.sched_getaffinity(0))
    measure([(run, inputs)], min_seconds=2, min_queries=64, warmup_seconds=0.1, watch=watch)
    return watch.finish().looking_share


if __name__ == "__main__":
    main()
