"""How long each layer of a model file takes on this machine, and who ran it.

The file is cut behind each operator, all these beginnings are timed side by side, and a layer is
what the next beginning takes longer. Of ONNX Runtime it is the file that its optimiser makes, so
that layers are the kernels that run. The sum is held against the whole file, timed as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cores import pinned
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.prefixes import BEGINNINGS, time_by_prefixes
from edgeticket.device_runner.layers.report import (
    SCHEMA_VERSION,
    LayeredArtifact,
    LayerReport,
    Sources,
)
from edgeticket.device_runner.probes import drawn, identify, load_for_times
from edgeticket.device_runner.probes.turns import Pace
from edgeticket.device_runner.readings import Command, run_command
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.session_record import Recording
from edgeticket.device_runner.validity import INVALID

Progress = Callable[[str, float], None]


def time_layers(
    path: Path,
    *,
    artifact: str,
    pace: Pace = Pace(),  # noqa: B008 (it is frozen)
    threads: int = 1,
    cores: Sequence[int] | None = None,
    amx: bool = True,
    progress: Progress = lambda what, share: None,
    root: Path = Path("/"),
    command: Command = run_command,
) -> LayerReport:
    """Time every layer of one artifact.

    Args:
        path: a bundle, folder or .zip. Inputs are drawn: times do not depend on them.
        artifact: its id.
        pace: how many turns, and how long.
        threads: within one inference.
        cores: CPU cores to keep to; None: all that are allowed.
        amx: False withholds it while this process lives; see `device_runner.amx`.
        progress: told what is going on, never while timing.
        root, command: where the machine is looked at, and how programs on it are run.

    Raises:
        InputError: the bundle, the artifact or its runtime cannot be used.
    """
    if not amx:
        withhold_amx()
    with pinned(cores) as kept, open_bundle(path) as bundle:
        recording = Recording(root=root, command=command, cores=kept, threads=threads)
        (entry,) = select(bundle.manifest, artifact=artifact).chosen
        if entry.runtime not in BEGINNINGS:
            raise InputError(f"{entry.id}: times of layers are not known of {entry.runtime}")
        model = bundle.read(entry.file)
        session = load_for_times(model, entry, threads=threads)
        sources = Sources(model, entry, session, drawn(entry.inputs), threads)
        timed = time_by_prefixes(sources, pace, progress, recording.begin())
        record = recording.end(
            bundle, timed.windows, artifacts=[entry.id], schema_version=SCHEMA_VERSION
        )
        disturbed = record.validity.verdict == INVALID
        digest = next(file.sha256 for file in bundle.manifest.files if file.path == entry.file)
        return LayerReport(
            **vars(record),
            artifact=LayeredArtifact(entry.id, digest),
            runtime=identify(entry, session, threads=threads, withheld=() if amx else ("amx",)),
            statistic="min" if disturbed else "p50",
            whole_ns=timed.whole.min_ns if disturbed else timed.whole.p50_ns,
            layers=timed.fastest if disturbed else timed.layers,
        )
