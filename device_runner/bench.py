"""The measurement: artifacts of a bundle on this machine -> one report each."""

from __future__ import annotations

import contextlib
import datetime
import platform
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

import numpy as np

from device_runner import __version__
from device_runner.accuracy import Outputs, infer_all, judge
from device_runner.amx import withhold_amx
from device_runner.atomic import make_folder, write_atomic
from device_runner.bundle import open_bundle
from device_runner.chunks import Chunks
from device_runner.cold import measure_cold
from device_runner.cooldown import Cooldown, cool_down
from device_runner.cores import pinned
from device_runner.ctc import Decoder
from device_runner.energy import SECONDS as ENERGY_SECONDS
from device_runner.energy import Energy, add_meter, measure_energy
from device_runner.energy.meter import read_meter
from device_runner.instructions import warn_inexact
from device_runner.latency import Latency, measure, percentile
from device_runner.machine import describe_machine
from device_runner.manifest import TensorSpec
from device_runner.npy import format_npy
from device_runner.plan import Plan
from device_runner.preprocess import preprocess, to_tensor
from device_runner.readings import Command, run_command, take_readings
from device_runner.report import (
    SCHEMA_VERSION,
    BundleIdentity,
    MeasuredArtifact,
    PreprocessingTime,
    RealTime,
    Report,
    SessionIdentity,
)
from device_runner.report.fields import tell_real_time
from device_runner.samples import Asked, Inputs, load_samples
from device_runner.scenarios import measure_paced, tell_deadlines, tell_throughput
from device_runner.selection import select
from device_runner.subjects import Subject, load_subject
from device_runner.unavailable import Unavailable
from device_runner.validity import Evidence
from device_runner.validity import judge as judge_validity
from device_runner.watch import Watch
from device_runner.windows import split_windows

PREPARATIONS = 128  # timed ones; p50 and p90 need 64

Progress = Callable[[str, float], None]
"""``progress(what, share)``: what is being done and how much of it, 0..1; never while timing."""


def bench(
    path: Path,
    *,
    plan: Plan = Plan(),  # noqa: B008 (it is frozen)
    runtime: str | None = None,
    precision: str | None = None,
    artifact: str | None = None,
    samples: Asked = None,
    outputs: Path | None = None,
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
        outputs: folder for every artifact's outputs, <id>.npy [N, classes]; None: not kept.
        progress: told what is going on.
        root, command: where the machine is looked at, and how programs on it are run.

    Raises:
        InputError: the bundle, the selection, a runtime or the plan cannot be used.
    """
    if not plan.amx:
        withhold_amx()
    with contextlib.ExitStack() as stack:
        started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        machine = describe_machine(root)
        withheld = () if plan.amx else ("amx",)
        cores = stack.enter_context(pinned(plan.cores))
        bundle = stack.enter_context(open_bundle(path))
        manifest = bundle.manifest
        selection = select(manifest, runtime=runtime, precision=precision, artifact=artifact)
        for name, reason in selection.skipped:
            progress(f"skipping {name}: {reason}", 1.0)
        chosen = selection.chosen
        for entry in chosen:
            warning = warn_inexact(entry, manifest.artifacts, machine, withheld=withheld)
            if warning is not None:
                progress(f"warning: {warning}", 1.0)
        inputs, labels = load_samples(bundle, samples)
        tried = [(entry, threads) for entry in chosen for threads in plan.threads]
        cold = []
        for i, (entry, threads) in enumerate(tried):  # first: a crash shall be elsewhere
            progress("cold starts", i / len(tried))
            cold.append(measure_cold(path, entry.id, threads=threads, cpu_only=plan.cpu_only))
        subjects = [
            load_subject(
                bundle,
                entry,
                inputs,
                threads=threads,
                batch=plan.batch or 1,
                cpu_only=plan.cpu_only,
            )
            for entry, threads in tried
        ]

        cooldown: Cooldown | Unavailable = Unavailable("it was not asked for")
        if plan.cooldown_c is not None:
            cooldown = cool_down(
                root, below_c=plan.cooldown_c, tell=lambda sentence: progress(sentence, 0.0)
            )
        before = take_readings(root, command=command)
        watch = Watch(root, command=command, cpus=cores)
        latencies = _time(subjects, plan, watch, progress)
        during = watch.finish()
        after = take_readings(root, command=command)
        energies = _weigh(subjects, plan, progress, root=root, command=command)

        identity = SessionIdentity(
            id=uuid.uuid4().hex,
            started_utc=started,
            artifacts=tuple(entry.id for entry in chosen),
            command=tuple(sys.argv),
            cores=cores,
            cooldown=cooldown,
        )
        files = {file.path: file for file in manifest.files}
        reports = []
        for i, (subject, latency) in enumerate(zip(subjects, latencies)):
            progress("accuracy", i / len(subjects))
            entry, file = subject.entry, files[subject.entry.file]
            answers = infer_all(
                subject.session.run, inputs, steps=manifest.preprocessing, artifact=entry
            )
            if outputs is not None:
                _keep(answers, outputs, entry.id)
            windows = split_windows(latency.samples_ns, plan.windows)
            preparation = _time_preparation(inputs, manifest.preprocessing, entry.input)
            report = Report(
                schema_version=SCHEMA_VERSION,
                session=identity,
                bundle=BundleIdentity(name=manifest.name, digest=bundle.digest),
                artifact=MeasuredArtifact(
                    **vars(entry), sha256=file.sha256, size_bytes=file.size_bytes
                ),
                runtime=subject.identify(withheld=withheld),
                placement=subject.placement,
                validity=judge_validity(
                    Evidence(
                        machine=machine,
                        before=before,
                        during=during,
                        after=after,
                        windows=windows,
                        threads=subject.threads,
                        cores=len(cores),
                        paced=plan.rate_hz is not None,
                    )
                ),
                latency=latency,
                windows=windows,
                throughput=tell_throughput(
                    latency, batch=subject.batch, how=subject.how, rate_hz=plan.rate_hz
                ),
                deadlines=tell_deadlines(latency, rate_hz=plan.rate_hz),
                energy=energies[i],
                preprocessing_ns=preparation,
                real_time=_real_time(manifest.chunks, latency, preparation),
                cold=cold[i],
                accuracy=judge(
                    answers,
                    inputs,
                    labels,
                    symbols=manifest.labels,
                    decoder=Decoder(plan.beam, entry.output.scale),
                ),
                machine=machine,
                before=before,
                during=during,
                after=after,
                versions={
                    "device_runner": __version__,
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                },
            )
            reports.append(report)
        progress("accuracy", 1.0)
        return reports


def _time(
    subjects: Sequence[Subject], plan: Plan, watch: Watch, progress: Progress
) -> list[Latency]:
    """The timed queries of the plan's scenario."""
    artifacts = [(subject.run, subject.queries) for subject in subjects]
    asked: dict[str, Any] = {
        "min_seconds": plan.min_seconds,
        "min_queries": plan.min_queries,
        "warmup_seconds": plan.warmup_seconds,
        "progress": lambda share: progress("timing queries", share),
        "watch": watch,
    }
    if plan.rate_hz is not None:
        return measure_paced(artifacts, rate_hz=plan.rate_hz, **asked)
    return measure(artifacts, scenario=plan.scenario, **asked)


def _weigh(
    subjects: Sequence[Subject], plan: Plan, progress: Progress, *, root: Path, command: Command
) -> list[Energy | Unavailable]:
    """Energy per inference, by sensors and by the plan's meter."""
    seconds = plan.energy_seconds
    if plan.meter is not None and seconds is None:
        seconds = ENERGY_SECONDS
    singles = [(subject.session.run, subject.singles) for subject in subjects]
    energies = measure_energy(
        singles,
        seconds=seconds,
        root=root,
        command=command,
        progress=lambda share: progress("measuring energy", share),
    )
    if plan.meter is None:
        return energies
    log = read_meter(plan.meter, offset_s=plan.meter_offset_s)
    return [e if isinstance(e, Unavailable) else add_meter(e, log) for e in energies]


def _time_preparation(
    inputs: Inputs, steps: Sequence[Mapping[str, Any]], spec: TensorSpec
) -> PreprocessingTime:
    times = []
    for i in range(PREPARATIONS):
        at = i % len(inputs)
        before = perf_counter_ns()
        to_tensor(preprocess(inputs[at : at + 1], steps), spec)
        times.append(perf_counter_ns() - before)
    times.sort()
    return PreprocessingTime(
        count=len(times), p50=percentile(times, 0.5), p90=percentile(times, 0.9)
    )


def _real_time(
    chunks: Chunks | None, latency: Latency, preparation: PreprocessingTime
) -> RealTime | Unavailable:
    if chunks is None:
        return Unavailable("its samples are no recordings that are transcribed")
    return tell_real_time(latency, preparation, step_s=chunks.step_s)


def _keep(answers: Outputs, folder: Path, artifact: str) -> None:
    make_folder(folder)
    write_atomic(folder / f"{artifact}.npy", format_npy(answers))
