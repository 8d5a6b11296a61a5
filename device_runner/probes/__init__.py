"""Many tiny artifacts, timed in one session: what single steps of networks cost on this machine.

`bench` takes seconds for each artifact, because it answers for it. A probe is one number among
hundreds, and answers nothing: no cold start, no accuracy, turns of some milliseconds. What stays
is the method: a query is the same, all take turns, the machine is watched, and the session says
whether it may be believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.cores import pinned
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CODE_RANGES, Artifact, TensorSpec
from edgeticket.device_runner.probes.report import (
    SCHEMA_VERSION,
    Probe,
    ProbeReport,
    ProbeTime,
)
from edgeticket.device_runner.probes.turns import Pace, time_in_turns
from edgeticket.device_runner.readings import Command, run_command
from edgeticket.device_runner.report import RuntimeIdentity
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.runtimes.session import Session, check_ports
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.session_record import Recording
from edgeticket.device_runner.unavailable import Unavailable

Progress = Callable[[str, float], None]


def probe(
    path: Path,
    *,
    pace: Pace = Pace(),  # noqa: B008 (it is frozen)
    threads: int = 1,
    cores: Sequence[int] | None = None,
    amx: bool = True,
    runtime: str | None = None,
    artifact: Sequence[str] | None = None,
    progress: Progress = lambda what, share: None,
    root: Path = Path("/"),
    command: Command = run_command,
) -> ProbeReport:
    """Time all artifacts of a bundle side by side; its samples are not read.

    Args:
        path: a bundle, folder or .zip. Inputs are drawn, so that artifacts may take any shapes.
        pace: how many turns, and how long.
        threads: within one inference.
        cores: CPU cores to keep to; None: all that are allowed.
        amx: False withholds it while this process lives; see `device_runner.amx`.
        runtime, artifact: which artifacts; see `select`.
        progress: told what is going on, never within a turn.
        root, command: where the machine is looked at, and how programs on it are run.

    Raises:
        InputError: the bundle, the selection or a runtime cannot be used. An artifact that its
            runtime refuses is in the report, with the reason.
    """
    if not amx:
        withhold_amx()
    with pinned(cores) as kept, open_bundle(path) as bundle:
        recording = Recording(root=root, command=command, cores=kept, threads=threads)
        entries = select(bundle.manifest, runtime=runtime, artifact=artifact).chosen
        loaded: list[tuple[Artifact, Session | Unavailable]] = []
        for i, entry in enumerate(entries):
            progress("loading probes", i / len(entries))
            loaded.append((entry, _load(bundle, entry, threads=threads)))
        sessions = [(e, s) for e, s in loaded if isinstance(s, Session)]
        timed = time_in_turns(
            [(session.query, drawn(entry.inputs)) for entry, session in sessions],
            pace,
            progress=lambda share: progress("timing probes", share),
            watch=recording.begin(),
        )
        record = recording.end(
            bundle,
            timed.windows,
            artifacts=[entry.id for entry in entries],
            schema_version=SCHEMA_VERSION,
        )
        times = dict(zip((entry.id for entry, _ in sessions), timed.times))
        hashes = {file.path: file.sha256 for file in bundle.manifest.files}
        withheld = () if amx else ("amx",)
        return ProbeReport(
            **vars(record),
            probes=tuple(
                Probe(
                    artifact=entry.id,
                    sha256=hashes[entry.file],
                    runtime=identify(entry, session, threads=threads, withheld=withheld),
                    time=times.get(entry.id) or _reason(session),
                )
                for entry, session in loaded
            ),
        )


def drawn(specs: Sequence[TensorSpec]) -> tuple[np.ndarray[Any, Any], ...]:
    """A seeded random query; integers that are no codes are 0, as they may be indices."""
    generator = np.random.default_rng(0)
    tensors = []
    for spec in specs:
        if spec.dtype == "float32":
            tensor = generator.normal(0, 1, spec.shape).astype(np.float32)
        elif spec.dtype in CODE_RANGES and spec.scale is not None:
            low, high = CODE_RANGES[spec.dtype]
            tensor = generator.integers(low, high + 1, spec.shape).astype(spec.dtype)
        else:
            tensor = np.zeros(spec.shape, spec.dtype)
        tensors.append(np.ascontiguousarray(tensor))
    return tuple(tensors)


def load_for_times(model: bytes, entry: Artifact, *, threads: int) -> Session:
    """A session on the CPU alone.

    Raises:
        InputError: the runtime cannot be used or refuses the file, or its ends are others.
    """
    session = get_runtime(entry.runtime).load(
        model,
        threads=threads,
        place=entry.id,
        cpu_only=True,
        inputs=[spec.name for spec in entry.inputs],
        outputs=[spec.name for spec in entry.outputs],
    )
    check_ports(session, entry)
    return session


def _load(bundle: Bundle, entry: Artifact, *, threads: int) -> Session | Unavailable:
    try:
        return load_for_times(bundle.read(entry.file), entry, threads=threads)
    except InputError as error:
        return Unavailable(str(error))


def identify(
    entry: Artifact, session: Session | Unavailable, *, threads: int, withheld: tuple[str, ...]
) -> RuntimeIdentity:
    """What ran ``entry``, or why nothing did."""
    if isinstance(session, Unavailable):
        return RuntimeIdentity(entry.runtime, "", session, threads, session, withheld)
    return RuntimeIdentity(
        entry.runtime, session.package, session.version, threads, session.delegates, withheld
    )


def _reason(session: Session | Unavailable) -> ProbeTime | Unavailable:
    return session if isinstance(session, Unavailable) else Unavailable("it was not timed")
