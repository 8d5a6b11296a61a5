"""A point of the front, finished: rounded, bundled, and measured by the runner on each target."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.devices.fleet_run import measure_together
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.progress import Hushed
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.search.deadline import Deadline
from edgeticket.pipeline.search.front import Point, PointOnTarget, Score
from edgeticket.pipeline.search.halving import Entrant
from edgeticket.pipeline.search.probing import Asked
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.text import open_console

TRIES = 3  # of a measurement that is INVALID
HERE = "local"


def finish(
    job: Job,
    recipe: Recipe,
    entrant: Entrant,
    devices: Sequence[Device],
    asked: Asked,
    *,
    recipe_folder: Path,
    data_folder: Path,
    folder: Path,
    runtimes: Sequence[str],
    remeasure: bool,
    deadline: Deadline,
) -> tuple[Point, dict[str, str]]:
    """Carry out the recipe of a point; its bundle and reports are in ``folder / recipe.name``.

    Returns:
        The point, and targets that failed -> why.

    Raises:
        InputError: it cannot be made.
    """
    here = folder / recipe.name
    is_here = any(device.target == HERE for device in devices)
    for attempt in range(TRIES):
        summary = run(
            recipe, recipe_folder=recipe_folder, out=folder, data_folder=data_folder,
            remeasure=remeasure or attempt > 0, progress=Hushed(job.progress), store=job.store.root,
        )  # fmt: skip
        reports = _read_all(here / "reports")
        if _are_enough(reports, asked) or not is_here or deadline.is_over:
            break
    proposal = entrant.proposal
    measured: dict[str, PointOnTarget] = {}
    failed: dict[str, str] = {}
    for device in devices:
        try:
            on_target = (
                reports if device.target == HERE else _measure(here, device, asked, deadline)
            )
            measured[device.label] = _fastest(on_target, proposal.precision, runtimes, device)
        except DeviceError as error:
            failed[device.target] = str(error)
    point = Point(
        name=recipe.name,
        structure=proposal.structure,
        precision=proposal.precision,
        opinion=proposal.opinion,
        epochs=sum(step.train.epochs for step in recipe.compress if step.method == "finetune"),
        score=_score(job, summary.steps[-1], proposal.precision),
        predicted_ms=proposal.time_ns / 1e6,
        measured=measured,
    )
    return point, failed


def _are_enough(reports: Sequence[Report], asked: Asked) -> bool:
    return asked.allow_invalid or all(r.validity.verdict == VALID for r in reports)


def dense_score(job: Job, dense: Candidate) -> Score | None:
    """Of the dense network in float32, on validation; None: nothing is asked of outputs."""
    metric = task_of(job.data.validation).headline
    if metric is None:
        return None
    value = flat_fields(dense.log[-1])[f"validation_{metric.name}"]
    return Score(metric, float(value)) if isinstance(value, int | float) else None


def _score(job: Job, entry: Mapping[str, Any], precision: str) -> float | None:
    """On validation, from what the log says of the pass that rounds."""
    metric = task_of(job.data.validation).headline
    if metric is None:
        return None
    suffix = "_int8" if precision == "int8" else ""
    value = flat_fields(entry).get(f"validation_{metric.name}{suffix}")
    return float(value) if isinstance(value, int | float) else None


def _read_all(folder: Path) -> list[Report]:
    return [read_report(file) for file in sorted(folder.glob("*.json"))]


def _measure(here: Path, device: Device, asked: Asked, deadline: Deadline) -> list[Report]:
    """A target's reports, which land in ``here / "targets"``.

    Raises:
        DeviceError: it measured nothing.
    """
    reports: list[Report] = []
    failure = None
    for attempt in range(TRIES):
        if attempt and deadline.is_over:
            break
        (outcome,) = measure_together(
            here / "bundle",
            [device],
            asked.options,
            out=here / "targets",
            offline=asked.offline,
            patience=asked.patience,
            console=open_console(file=io.StringIO()),
        )
        failure = outcome.failure
        if failure is None:
            reports = list(outcome.reports)
            if _are_enough(reports, asked):
                break
    if not reports:
        raise DeviceError(_placed(device, failure or "it measured nothing"))
    return reports


def _placed(device: Device, sentence: str) -> str:
    """With the target before it, once."""
    return sentence if device.target in sentence else f"{device.target}: {sentence}"


def _fastest(
    reports: Sequence[Report], precision: str, runtimes: Sequence[str], device: Device
) -> PointOnTarget:
    """The artifact that answers first."""
    points = []
    for report in reports:
        p90_ns = report.latency.p90_ns
        if report.artifact.precision != precision or isinstance(p90_ns, Unavailable):
            continue
        if report.artifact.role != "deploy" or report.artifact.runtime not in runtimes:
            continue
        score = getattr(report.accuracy, "score", None)  # of fidelity alone none
        points.append(
            PointOnTarget(
                artifact=report.artifact.id,
                runtime=report.artifact.runtime,
                p90_ms=p90_ns / 1e6,
                size_bytes=report.artifact.size_bytes,
                test_score=float(score) if isinstance(score, int | float) else None,
                valid=report.validity.verdict == VALID,
                reasons=tuple(finding.sentence() for finding in report.validity.reasons),
            )
        )
    if not points:
        raise DeviceError(f"{device.target} measured no {precision} file of the bundle")
    return min(points, key=lambda one: one.p90_ms)
