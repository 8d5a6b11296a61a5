"""What the reports of one session have in common, and how each is written up."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.bench.timed import Timed
from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.fidelity import Fidelity
from edgeticket.device_runner.latency import Latency
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.provenance import versions
from edgeticket.device_runner.report import (
    SCHEMA_VERSION,
    BundleIdentity,
    ColdStart,
    Judged,
    MeasuredArtifact,
    PreprocessingTime,
    RealTime,
    Report,
    SessionIdentity,
)
from edgeticket.device_runner.report.fields import tell_real_time
from edgeticket.device_runner.scenarios import tell_deadlines, tell_throughput
from edgeticket.device_runner.subjects import Subject
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import Evidence, judge
from edgeticket.device_runner.windows import split_windows


@dataclass(frozen=True)
class Session:
    """One run of the instrument."""

    identity: SessionIdentity
    plan: Plan
    bundle: Bundle
    machine: Machine
    withheld: tuple[str, ...]  # instruction sets kept from the runtimes
    timed: Timed


def write_up(
    session: Session,
    index: int,
    subject: Subject,
    *,
    cold: ColdStart,
    preparation: PreprocessingTime,
    accuracy: Judged,
    fidelity: Fidelity | Unavailable,
    not_finite: str | None = None,
) -> Report:
    """The report of the session's subject number ``index``, judged; ``not_finite`` as in
    `Evidence`."""
    plan, timed, manifest = session.plan, session.timed, session.bundle.manifest
    latency = timed.latencies[index]
    windows = split_windows(latency.samples_ns, plan.windows)
    evidence = Evidence(
        machine=session.machine,
        before=timed.before,
        during=timed.during,
        after=timed.after,
        windows=windows,
        threads=subject.threads,
        cores=len(session.identity.cores),
        paced=plan.rate_hz is not None,
        not_finite=not_finite,
        sustained=plan.sustain_minutes is not None,
    )
    file = next(file for file in manifest.files if file.path == subject.entry.file)
    return Report(
        schema_version=SCHEMA_VERSION,
        session=session.identity,
        bundle=BundleIdentity(name=manifest.name, digest=session.bundle.digest),
        artifact=MeasuredArtifact(
            **vars(subject.entry), sha256=file.sha256, size_bytes=file.size_bytes
        ),
        runtime=subject.identify(withheld=session.withheld),
        placement=subject.placement,
        validity=judge(evidence),
        latency=latency,
        windows=windows,
        throughput=tell_throughput(
            latency, batch=subject.batch, how=subject.how, rate_hz=plan.rate_hz
        ),
        deadlines=tell_deadlines(latency, rate_hz=plan.rate_hz),
        sustained=timed.sustained[index],
        energy=timed.energies[index],
        preprocessing_ns=preparation,
        real_time=_real_time(manifest.chunks, latency, preparation),
        cold=cold,
        accuracy=accuracy,
        fidelity=fidelity,
        machine=session.machine,
        before=timed.before,
        during=timed.during,
        after=timed.after,
        versions=versions(),
    )


def _real_time(
    chunks: Chunks | None, latency: Latency, preparation: PreprocessingTime
) -> RealTime | Unavailable:
    if chunks is None:
        return Unavailable("its samples are no recordings that are transcribed")
    return tell_real_time(latency, preparation, step_s=chunks.step_s)
