"""Outputs of artifacts for some samples, computed on this machine: reports hold no outputs.

Model files come from anybody, so they are loaded in a process of its own: a runtime that crashes
or hangs takes no page with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.accuracy import CheckSums
from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.child import run_child
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.faithful import reals_of
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.npz import format_npz, parse_npz
from edgeticket.device_runner.outputs import answers
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import check_ports

Array = npt.NDArray[Any]

TIMEOUT_S = 120.0
LIMIT_BYTES = 2**28  # of all outputs together


@dataclass(frozen=True)
class Computed:
    """``outputs``: real values [samples, ...] each; ``sums``: as `TaskScores.sample_crc32` has
    them, for the same samples."""

    outputs: tuple[Array, ...]
    sums: tuple[int, ...]


def compute(
    bundle: Path, artifacts: Sequence[str], indices: Sequence[int]
) -> Mapping[str, Computed]:
    """Run samples through artifacts.

    Args:
        bundle: folder or .zip.
        artifacts: ids.
        indices: of samples.

    Returns:
        By id; artifacts that do not run here are left out, and so are all where the process dies.
    """
    if not artifacts or not indices:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.npz"
        numbers = ",".join(map(str, indices))
        arguments = [str(bundle.resolve()), str(file), numbers, *artifacts]
        try:
            run_child(__name__, arguments, timeout_s=TIMEOUT_S)
            arrays = parse_npz(read_regular(file, limit_bytes=LIMIT_BYTES), place=str(file))
        except (OSError, subprocess.TimeoutExpired, InputError):
            return {}
    found: dict[str, Computed] = {}
    for i, name in enumerate(artifacts):
        if f"sums_{i}" in arrays:
            keys = sorted(
                (key for key in arrays if key.startswith(f"output_{i}_")),
                key=lambda key: int(key.rpartition("_")[2]),
            )
            sums = tuple(map(int, arrays[f"sums_{i}"]))
            found[name] = Computed(tuple(arrays[key] for key in keys), sums)
    return found


def main(arguments: Sequence[str]) -> None:
    """The child: BUNDLE FILE.npz 3,5,8 ID...; an artifact that fails says so on standard error."""
    path, file, numbers, *names = arguments
    indices = [int(number) for number in numbers.split(",")]
    arrays: dict[str, Array] = {}
    with open_bundle(Path(path)) as bundle:
        inputs = [stored[indices] for stored in bundle.inputs()]
        for i, name in enumerate(names):
            try:
                rows, sums = _run(bundle, name, inputs)
            except InputError as error:
                print(error, file=sys.stderr)
                continue
            arrays[f"sums_{i}"] = np.asarray(sums, dtype=np.int64)
            for k, parts in enumerate(zip(*rows, strict=True)):
                arrays[f"output_{i}_{k}"] = np.stack(parts)
    write_atomic(Path(file), format_npz(arrays))


def _run(
    bundle: Bundle, name: str, inputs: Sequence[Array]
) -> tuple[list[tuple[Array, ...]], tuple[int, ...]]:
    entry = _entry(bundle, name)
    session = get_runtime(entry.runtime).load(
        bundle.read(entry.file), threads=1, place=entry.id, cpu_only=True,
        inputs=[spec.name for spec in entry.inputs], outputs=[spec.name for spec in entry.outputs],
    )  # fmt: skip
    check_ports(session, entry)
    sums, rows = CheckSums(), []
    described = bundle.manifest.inputs
    for row in answers(
        session.query, inputs, described=described, artifact=entry, only_finite=False
    ):
        sums.add(row)
        rows.append(reals_of(row, entry))
    return rows, sums.samples


def _entry(bundle: Bundle, name: str) -> Artifact:
    for entry in bundle.manifest.artifacts:
        if entry.id == name:
            return entry
    raise InputError(f"the bundle has no artifact {name!r}")
