"""Measure on this machine, with the same runner and in the same way as on a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.recipe import BenchConfig


def measure(bundle: Path, reports: Path, bench: BenchConfig) -> None:
    """Run `device-runner bench` on a bundle; one report per artifact arrives in ``reports``.

    The runner gets a process of its own, because torch's thread pools and gigabytes in this one
    would show in its numbers. It also inherits the lock of the stage that asked for it: should
    this process be killed, a new run waits for the orphan instead of measuring beside it.
    """
    command = [
        *(
            sys.executable,
            "-P",  # a file in the current folder is no module of ours
            "-m",
            "edgeticket.device_runner",
            "bench",
            str(bundle),
            "-o",
            str(reports),
        ),
        *("--threads", str(bench.threads)),
        *("--min-seconds", str(bench.min_seconds)),
        *("--min-queries", str(bench.min_queries)),
        *(() if bench.amx else ("--no-amx",)),
    ]
    # Its progress belongs on the terminal; its table would come before the summary's.
    show = None if sys.stderr.isatty() else subprocess.PIPE
    runner = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=show, text=True, close_fds=False, check=False
    )
    if runner.returncode == 0:
        return
    if runner.returncode in (130, -2):
        raise KeyboardInterrupt
    told = (runner.stderr or "").strip().rpartition("\n")[2] or "see the lines above"
    raise InputError(f"measuring {bundle} failed ({runner.returncode}): {told}")
