"""Cold start: what the very first query of a process costs.

`measure_cold` starts this module as a fresh process, which loads one artifact, answers one query
and prints a line of JSON. In the bench process itself caches are warm and memory is shared.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.child import run_child, take_output, tell_signal
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.device_runner.report import ColdStart
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

TIMEOUT_S = 600  # an emulated board with a large model stays far below


def measure_cold(bundle: Path, artifact: str, *, threads: int, cpu_only: bool = False) -> ColdStart:
    """Load and first query of one artifact in a fresh process.

    A process that fails or hangs gives ``Unavailable`` values with the reason.

    Raises:
        InputError: the process was killed by a signal: the runtime crashed on this model, and
            would take the whole measurement along.
    """
    arguments = [str(bundle), artifact, str(threads), *(["cpu"] if cpu_only else [])]
    try:
        done = run_child(__name__, arguments, timeout_s=TIMEOUT_S)
    except (subprocess.TimeoutExpired, OSError) as error:
        return _no_cold_start(str(error))
    if done.returncode < 0:
        raise InputError(
            f"{artifact}: its runtime dies of {tell_signal(-done.returncode)} on the first query: "
            "try another artifact or another version of the runtime"
        )
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        reason = f"the process ended with {done.returncode}: {clean_line(lines[-1])}"
        return _no_cold_start(reason)
    try:
        return ColdStart(**flat_fields(parse_json(done.stdout, place="answer of the cold start")))
    except InputError as error:
        return _no_cold_start(str(error))


def _no_cold_start(reason: str) -> ColdStart:
    missing = Unavailable(reason)
    return ColdStart(load_ns=missing, first_inference_ns=missing, peak_rss_bytes=missing)


def first_query(bundle: Path, artifact: str, *, threads: int, cpu_only: bool) -> ColdStart:
    """Load and first query in this process; the import of the runtime is not timed.

    Inputs are all zeros: reading the bundle's samples would count as memory.
    """
    with open_bundle(bundle) as opened:
        chosen = next(entry for entry in opened.manifest.artifacts if entry.id == artifact)
        model = opened.read(chosen.file)
    zeros = [np.zeros(spec.shape, dtype=spec.dtype) for spec in chosen.inputs]
    runtime = get_runtime(chosen.runtime)
    runtime.find()
    start = perf_counter_ns()
    session = runtime.load(
        model, threads=threads, place=artifact, cpu_only=cpu_only,
        inputs=[spec.name for spec in chosen.inputs],
    )  # fmt: skip
    loaded = perf_counter_ns()
    session.query(zeros)
    answered = perf_counter_ns()
    return ColdStart(
        load_ns=loaded - start,
        first_inference_ns=answered - loaded,
        peak_rss_bytes=peak_rss(),
    )


def peak_rss(status: Path = Path("/proc/self/status")) -> int | Unavailable:
    """Highest resident memory of this process in bytes.

    Not from getrusage: its maximum survives exec, so that a child would show its parent's.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    except OSError as error:
        return Unavailable(f"{status}: {error.strerror}")
    return int(found[1]) * 1024 if found else Unavailable(f"{status} has no VmHWM")


def main(arguments: Sequence[str]) -> None:
    """Answer one query of an artifact, and print how long that took, as JSON."""
    bundle, artifact, threads, *cpu = arguments
    answer = take_output()
    cold = first_query(Path(bundle), artifact, threads=int(threads), cpu_only=bool(cpu))
    answer.write(format_json(to_json(cold)).decode("utf-8"))
    answer.flush()
