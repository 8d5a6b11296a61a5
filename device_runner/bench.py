"""The measurement: artifacts of a bundle on this machine -> one report each."""

from __future__ import annotations

import datetime
import platform
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from device_runner import __version__
from device_runner.accuracy import Outputs, infer_all, judge
from device_runner.amx import withhold_amx
from device_runner.atomic import make_folder, write_atomic
from device_runner.bundle import Bundle, open_bundle
from device_runner.cold import measure_cold
from device_runner.errors import InputError
from device_runner.instructions import warn_inexact
from device_runner.latency import MIN_QUERIES, MIN_SECONDS, WARMUP_SECONDS, measure, percentile
from device_runner.machine import describe_machine
from device_runner.manifest import Artifact, TensorSpec
from device_runner.npy import format_npy
from device_runner.preprocess import preprocess, to_tensor
from device_runner.readings import Command, run_command, take_readings
from device_runner.report import (
    SCHEMA_VERSION,
    BundleIdentity,
    MeasuredArtifact,
    PreprocessingTime,
    Report,
    RuntimeIdentity,
    SessionIdentity,
)
from device_runner.runtimes import get_runtime
from device_runner.runtimes.session import Session, check_port
from device_runner.selection import select

CYCLED_INPUTS = 32  # prepared inputs that the timed queries go through in turn
PREPARATIONS = 128  # timed ones; p50 and p90 need 64

Progress = Callable[[str, float], None]
"""``progress(what, share)``: what is being done and how much of it, 0..1; never while timing."""

Inputs = npt.NDArray[np.uint8]


def bench(
    path: Path,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    artifact: str | None = None,
    threads: int = 1,
    min_seconds: float = MIN_SECONDS,
    min_queries: int = MIN_QUERIES,
    warmup_seconds: float = WARMUP_SECONDS,
    samples: int | None = None,
    amx: bool = True,
    outputs: Path | None = None,
    progress: Progress = lambda what, share: None,
    root: Path = Path("/"),
    command: Command = run_command,
) -> list[Report]:
    """Measure cold start, latency, preprocessing and accuracy.

    Args:
        path: a bundle, folder or .zip.
        runtime, precision, artifact: which artifacts; see `select`.
        threads: threads within one inference.
        min_seconds, min_queries: per artifact, and both must be reached; p99 needs 662 queries.
        warmup_seconds: untimed queries of each artifact before the timed ones.
        samples: use only the first so many samples; None: all of them.
        amx: False withholds it from the runtimes for as long as this process lives; see
            `device_runner.amx`.
        outputs: folder for every artifact's outputs, <id>.npy [N, classes]; None: not kept.
        progress: told what is going on.
        root, command: where the machine is looked at, and how programs on it are run.

    Raises:
        InputError: the bundle, the selection or a runtime cannot be used.
    """
    if not amx:
        withhold_amx()
    started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = describe_machine(root)
    withheld = () if amx else ("amx",)
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
        selection = select(manifest, runtime=runtime, precision=precision, artifact=artifact)
        for name, reason in selection.skipped:
            progress(f"skipping {name}: {reason}", 1.0)
        chosen = selection.chosen
        for entry in chosen:
            warning = warn_inexact(entry, manifest.artifacts, machine, withheld=withheld)
            if warning is not None:
                progress(f"warning: {warning}", 1.0)
        inputs, labels = _samples(bundle, samples)
        cold = []
        for i, entry in enumerate(chosen):  # first: a runtime that crashes does so elsewhere
            progress("cold starts", i / len(chosen))
            cold.append(measure_cold(path, entry.id, threads=threads))
        sessions = [_load(bundle, entry, threads=threads) for entry in chosen]

    first = preprocess(inputs[:CYCLED_INPUTS], manifest.preprocessing)
    queries = [
        (session.run, _rows(to_tensor(first, entry.input, place=entry.id)))
        for entry, session in zip(chosen, sessions)
    ]
    before = take_readings(root, command=command)
    latencies = measure(
        queries,
        min_seconds=min_seconds,
        min_queries=min_queries,
        warmup_seconds=warmup_seconds,
        progress=lambda share: progress("timing queries", share),
    )
    after = take_readings(root, command=command)

    identity = SessionIdentity(
        id=uuid.uuid4().hex,
        started_utc=started,
        artifacts=tuple(entry.id for entry in chosen),
        command=tuple(sys.argv),
    )
    files = {file.path: file for file in manifest.files}
    reports = []
    for i, (entry, session) in enumerate(zip(chosen, sessions)):
        progress("accuracy", i / len(chosen))
        answers = infer_all(session.run, inputs, steps=manifest.preprocessing, artifact=entry)
        if outputs is not None:
            _keep(answers, outputs, entry.id)
        file = files[entry.file]
        report = Report(
            schema_version=SCHEMA_VERSION,
            session=identity,
            bundle=BundleIdentity(name=manifest.name, digest=bundle.digest),
            artifact=MeasuredArtifact(
                **vars(entry), sha256=file.sha256, size_bytes=file.size_bytes
            ),
            runtime=_identify(entry, session, threads=threads, amx=amx),
            latency=latencies[i],
            preprocessing_ns=_time_preparation(inputs, manifest.preprocessing, entry.input),
            cold=cold[i],
            accuracy=judge(answers, inputs, labels),
            machine=machine,
            before=before,
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


def _samples(bundle: Bundle, count: int | None) -> tuple[Inputs, npt.NDArray[np.int64]]:
    inputs, labels = bundle.samples()
    if count is not None and count > len(inputs):
        raise InputError(f"{count} samples were asked for, the bundle has {len(inputs)}")
    return inputs[:count], labels[:count]


def _load(bundle: Bundle, entry: Artifact, *, threads: int) -> Session:
    load = get_runtime(entry.runtime).load
    session = load(bundle.read(entry.file), threads=threads, place=entry.id)
    check_port(session.input, entry.input, place=f"{entry.id}: the input")
    check_port(session.output, entry.output, place=f"{entry.id}: the output")
    return session


def _rows(tensor: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """[N, ...] -> N views [1, ...], each ready for a query."""
    return [tensor[i : i + 1] for i in range(len(tensor))]


def _identify(entry: Artifact, session: Session, *, threads: int, amx: bool) -> RuntimeIdentity:
    return RuntimeIdentity(
        name=entry.runtime,
        package=session.package,
        version=session.version,
        threads=threads,
        delegates=session.delegates,
        withheld=() if amx else ("amx",),
    )


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


def _keep(answers: Outputs, folder: Path, artifact: str) -> None:
    make_folder(folder)
    write_atomic(folder / f"{artifact}.npy", format_npy(answers))
