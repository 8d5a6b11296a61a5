"""The measurement: artifacts of a bundle on this machine -> one report each."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.amx import withhold_amx
from edgeticket.device_runner.bench.session import Session, write_up
from edgeticket.device_runner.bench.timed import Progress, time_preparation, time_subjects
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cold import measure_cold
from edgeticket.device_runner.cores import pinned
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.instructions import warn_inexact
from edgeticket.device_runner.judging import Judging
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.provenance import utc_now
from edgeticket.device_runner.readings import Command, run_command
from edgeticket.device_runner.report import ColdStart, Report, SessionIdentity
from edgeticket.device_runner.samples import Asked, load_samples
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.subjects import load_subject


def bench(
    path: Path,
    *,
    plan: Plan = Plan(),  # noqa: B008 (it is frozen)
    runtime: str | None = None,
    precision: str | None = None,
    artifact: str | Sequence[str] | None = None,
    samples: Asked = None,
    outputs: Path | None = None,
    packed: Path | None = None,
    progress: Progress = lambda what, share: None,
    root: Path = Path("/"),
    command: Command = run_command,
) -> list[Report]:
    """Measure cold start, latency, energy, preprocessing and accuracy, and judge the measurement.

    Args:
        path: a bundle, folder or .zip.
        plan: how to measure.
        runtime, precision, artifact: which artifacts; see `select`.
        samples: what accuracy is taken over; see `load_samples`.
        outputs: folder for every artifact's outputs, <id>.npy [N, ...], or <id>/0.npy and so on
            where it has several; None: not kept.
        packed: the same as <id>.npz of output_0 and so on, in the network's own order of axes.
        progress: told what is going on.
        root, command: where the machine is looked at, and how programs on it are run.

    Raises:
        InputError: the bundle, the selection, a runtime or the plan cannot be used.
    """
    if not plan.amx:
        withhold_amx()
    withheld = () if plan.amx else ("amx",)
    started = utc_now()
    machine = describe_machine(root)
    with pinned(plan.cores) as cores, open_bundle(path) as bundle:
        manifest = bundle.manifest
        selection = select(manifest, runtime=runtime, precision=precision, artifact=artifact)
        for name, reason in selection.skipped:
            progress(f"skipping {name}: {reason}", 1.0)
        for entry in selection.chosen:
            warning = warn_inexact(entry, manifest.artifacts, machine, withheld=withheld)
            if warning is not None:
                progress(f"warning: {warning}", 1.0)
        inputs, targets = load_samples(
            bundle, samples, tell=lambda sentence: progress(f"warning: {sentence}", 1.0)
        )

        wanted = [(entry, threads) for entry in selection.chosen for threads in plan.threads]
        asked_for = artifact is not None or runtime is not None
        tried, cold = [], []
        for i, (entry, threads) in enumerate(wanted):  # first: a crash shall be elsewhere
            progress("cold starts", i / len(wanted))
            start = _start_cold(path, entry.id, threads=threads, cpu_only=plan.cpu_only)
            if not isinstance(start, InputError):
                tried.append((entry, threads))
                cold.append(start)
            elif asked_for or (not tried and i == len(wanted) - 1):
                raise start
            else:
                progress(f"skipping {entry.id}: {start}", 1.0)
        batch, cpu_only = plan.batch or 1, plan.cpu_only
        subjects = [
            load_subject(bundle, entry, inputs, threads=threads, batch=batch, cpu_only=cpu_only)
            for entry, threads in tried
        ]
        own = not isinstance(samples, Path)
        judging = Judging(
            bundle, inputs, targets, own=own, beam=plan.beam, outputs=outputs, packed=packed
        )
        for subject in subjects:
            judging.try_first(subject.session.query, subject.entry)
        timed = time_subjects(
            subjects, plan, cpus=cores, progress=progress, root=root, command=command
        )

        identity = SessionIdentity(
            id=uuid.uuid4().hex,
            started_utc=started,
            artifacts=tuple(dict.fromkeys(entry.id for entry, _ in tried)),
            command=tuple(sys.argv),
            cores=cores,
            cooldown=timed.cooldown,
        )
        session = Session(identity, plan, bundle, machine, withheld, timed)
        reports: list[Report] = []
        failed: InputError | None = None
        for i, subject in enumerate(subjects):
            progress("accuracy", i / len(subjects))
            entry = subject.entry
            try:
                accuracy, fidelity = judging.judge(subject.session.query, entry)
            except InputError as error:  # the others can be judged
                failed = error
                progress(f"skipping {entry.id}: {error}", 1.0)
                continue
            report = write_up(
                session,
                i,
                subject,
                cold=cold[i],
                preparation=time_preparation(inputs, manifest.inputs, entry.inputs),
                accuracy=accuracy,
                fidelity=fidelity,
                not_finite=judging.not_finite.get(entry.id),
            )
            reports.append(report)
        if failed is not None and (asked_for or not reports):
            raise failed
        progress("accuracy", 1.0)
        return reports


def _start_cold(path: Path, name: str, *, threads: int, cpu_only: bool) -> ColdStart | InputError:
    """The cold start of one artifact, or that its runtime crashed: the others can be measured."""
    try:
        return measure_cold(path, name, threads=threads, cpu_only=cpu_only)
    except InputError as error:
        return error
