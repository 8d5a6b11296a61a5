"""What giving out points costs: the share of the workers' time in which points run.

    python benchmarks/many_workers.py
    python benchmarks/many_workers.py --processes     # `dask worker` programs instead of threads

Points only sleep, so a machine with two cores has eight of them at a time, too. Everything counts
from the first point that is begun on: processes that start, results that come back. Goal: 0.9.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgeticket.pipeline.experiment.workers import Failed, Workers, map_points

PAGES = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


def nap(point: tuple[int, float]) -> tuple[float, float]:
    """Sleep; when it began and ended."""
    begun = time.time()
    time.sleep(point[1])
    return begun, time.time()


def main() -> None:
    """Print one line for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="1,2,4,8", help="at a time (default: 1,2,4,8)")
    parser.add_argument("--seconds", type=float, default=5, help="of a point (default: 5)")
    parser.add_argument("--rounds", type=int, default=4, help="points a worker (default: 4)")
    parser.add_argument("--processes", action="store_true", help="start `dask worker` programs")
    options = parser.parse_args()
    print("at a time  points  seconds  efficiency")
    for count in map(int, options.workers.split(",")):
        with dask_workers(count) if options.processes else contextlib.nullcontext() as address:
            on = Workers(scheduler=address) if address else Workers(jobs=count)
            seconds = wall(on, points=count * options.rounds, seconds=options.seconds)
        share = options.rounds * options.seconds / seconds
        print(f"{count:9}  {count * options.rounds:6}  {seconds:7.2f}  {share:10.3f}", flush=True)


def wall(on: Workers, *, points: int, seconds: float) -> float:
    """Seconds from the first point's beginning until all are back."""
    begun = []
    work = [(number, seconds) for number in range(points)]
    for _, outcome in map_points(nap, work, on=on, title="nap", digest=json.dumps, preload="json"):
        if isinstance(outcome, Failed):
            raise SystemExit(outcome.reason)
        begun.append(outcome[0])
        back = time.time()
    return back - min(begun)


@contextlib.contextmanager
def dask_workers(count: int) -> Iterator[str]:
    """A scheduler and workers on loopback, as programs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    common = ("--host", "127.0.0.1", *PAGES)
    commands = [["scheduler", "--port", str(port), *common]]
    commands.append(
        [
            "worker",
            address,
            "--nworkers",
            str(count),
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            *common,
        ]
    )
    with contextlib.ExitStack() as stack:
        for name, *arguments in commands:
            program = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{name}", *arguments],
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(program.wait)
            stack.callback(program.terminate)
        yield address


if __name__ == "__main__":
    main()
