"""Run an experiment: every point of its grid on a worker, one result line each.

The stages of a run are in the stage store, so what was done before a crash, and what points have
in common (the dense network of a seed), is done once. A point whose line is there is skipped.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from edgeticket.device_runner import __version__
from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.machine import describe_machine
from edgeticket.device_runner.manifest import CLASSES
from edgeticket.device_runner.task import Metric, read_settings
from edgeticket.device_runner.task.kind import LOWER
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.result import tell_value
from edgeticket.pipeline.experiment.file import Experiment, Point
from edgeticket.pipeline.experiment.lines import Circumstances, Line, append_line, read_lines
from edgeticket.pipeline.experiment.places import Places, reachable, store_name
from edgeticket.pipeline.experiment.workers import Failed, Workers, map_points
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.levels import remove_levels
from edgeticket.pipeline.run.passes import PASSES, apply_pass
from edgeticket.pipeline.store import locked
from edgeticket.pipeline.store.code import code_digest
from edgeticket.pipeline.train import evaluate

THREADS = 1  # of one run: results depend on it, and two runs use two cores better than one does


def run_experiment(
    experiment: Experiment,
    *,
    folder: Path,
    out: Path,
    data_folder: Path,
    on: Workers,
    progress: Progress,
) -> int:
    """Run the points that have no line yet, and append their lines to ``out / <name>.jsonl``.

    Args:
        experiment: what to run.
        folder: where its file is.
        out: the folder for results; stages are stored in its ``.stages``.
        data_folder: where data sets and weights lie.
        on: where points are worked on, each single-threaded.
        progress: shows how far it is.

    Returns:
        How many points failed. Why was said; the others were run all the same.

    Raises:
        InputError: ``out`` cannot be written to, or holds something else than results; no scheduler
            answers, or a worker is not as this machine.
    """
    file = out / f"{experiment.name}.jsonl"
    store = (out / ".stages").absolute()
    make_folder(store)
    places = Places(folder.absolute(), data_folder.absolute(), store, store_name(store), _code())
    with locked(places.store / f"{experiment.name}.lock"):
        done = {_key(line) for line in read_lines(file)} if file.exists() else set()
        points = [point for point in experiment.points if _key(point) not in done]
        progress.say(
            f"{experiment.name}: {len(points)} runs of {len(experiment.points)} to do, "
            f"lines go to {file}"
        )
        work = functools.partial(_alone, experiment=experiment.name, places=places)
        failed = 0
        start = time.monotonic()
        ended_points = map_points(
            work,
            points,
            on=on,
            title=experiment.name,
            digest=lambda point: json.dumps(_key(point)),
            preload=__name__,
            progress=progress,
        )
        with (
            progress.task(experiment.name, len(points)) as advance,
            contextlib.closing(ended_points) as ended,
        ):
            for number, (point, outcome) in enumerate(ended, start=1):
                if isinstance(outcome, Failed):
                    failed += 1
                    result = f"FAILED: {outcome.reason}"
                else:
                    append_line(file, outcome)
                    score = tell_value(outcome.test_score, outcome.unit)
                    result = f"{score} on test, {outcome.run.seconds:.0f} s"
                left = (time.monotonic() - start) / number * (len(points) - number)
                progress.say(
                    f"[{number}/{len(points)}] {point}: {result}; about {_minutes(left)} left"
                )
                advance(1, "")
        if not failed and (removed := remove_levels(places.store, user=experiment.name)):
            progress.say(f"removed the states of {removed} pruning(s) with rewinding: all is done")
    return failed


def run_point(point: Point, *, experiment: str, places: Places) -> Line:
    """Carry out one point, in this process; its test split is read once, at the end.

    Raises:
        InputError: the data are absent or do not fit, a training diverged, the disk is full.
    """
    start = time.monotonic()
    recipe = point.recipe
    job = Job.open(
        recipe,
        recipe_folder=places.experiment,
        store=places.store,
        data_folder=places.data,
        progress=QUIET,
    )
    if job.data.chunks is not None:
        raise InputError(
            f"experiments compare scores of samples, and {job.data.name} has texts; use "
            "`edgeticket run`, which tells error rates"
        )
    metric = _headline(job)
    candidate = dense_network(job)
    parameters = int(candidate.log[0]["parameters"])
    for position in range(len(recipe.compress)):
        candidate = apply_pass(job, candidate, position)
    kept, reached = _kept(candidate, parameters)
    tested = evaluate(
        candidate.network.module(), job.data.test, preprocessing=job.data.preprocessing
    )
    return Line(
        experiment=experiment,
        variant=point.variant,
        sparsity=point.sparsity,
        seed=point.seed,
        digest=point.digest,
        dataset=recipe.data.title,
        arch=recipe.model.architecture,
        sparsity_reached=reached,
        parameters=parameters,
        parameters_kept=kept,
        epochs=_epochs(point, candidate.log),
        measure=metric.name,
        unit=metric.unit,
        lower_is_better=metric.direction == LOWER,
        validation_score=_score(candidate.log[-1].get(f"validation_{metric.name}"), metric),
        test_score=_score(tested.scores.get(metric.name), metric),
        test_examples=len(job.data.test),
        steps=candidate.log,
        run=_circumstances(time.monotonic() - start),
    )


def _headline(job: Job) -> Metric:
    """The metric by which runs are compared.

    Raises:
        InputError: nothing is asked of the outputs.
    """
    targets = job.data.test.targets
    name, document = (
        (CLASSES, {}) if targets is None else (targets.task.name, targets.task.settings)
    )
    task, settings = read_settings(name, document, place="task")
    if task.headline is None or (targets is None and job.data.test.labels is None):
        raise InputError(
            f"experiments compare scores, and {job.data.name} has no targets that could be right; "
            "use `edgeticket run`, which tells fidelity"
        )
    return task.metric(task.headline, settings)


def _score(value: Any, metric: Metric) -> float:
    """
    Raises:
        InputError: it could not be had.
    """
    if isinstance(value, int | float):
        return float(value)
    reason = value.reason if isinstance(value, Unavailable) else "it was not computed"
    raise InputError(f"there is no {metric.name} to compare: {reason}")


def _key(of: Point | Line) -> tuple[str, float | None, int, str]:
    return of.variant, of.sparsity, of.seed, of.digest


def _kept(candidate: Candidate, parameters: int) -> tuple[int, float]:
    """(parameters that stay, sparsity that was reached)"""
    left = int(candidate.log[-1]["parameters"])
    if candidate.mask is None:
        return left, 1 - left / parameters
    zeroed = sum(int((~kept).sum()) for kept in candidate.mask.tensors.values())
    return left - zeroed, 1 - candidate.mask.density


def _epochs(point: Point, log: Sequence[Mapping[str, Any]]) -> int:
    """Passes over the training split, in all steps of a run."""
    total = point.recipe.train.epochs if point.recipe.train else 0
    steps = zip(point.recipe.compress, log[1:], strict=True)
    return total + sum(PASSES[step.method].epochs(step, entry) for step, entry in steps)


def _circumstances(seconds: float) -> Circumstances:
    machine = describe_machine()
    cuda = torch.cuda.is_available()
    return Circumstances(
        seconds=round(seconds, 1),
        versions={
            "edgeticket": __version__,
            "python": platform.python_version(),
            **{tool: importlib.metadata.version(tool) for tool in TRAINING_TOOLS},
        },
        cpu=machine.cpu if isinstance(machine.cpu, str) else machine.cpu.reason,
        architecture=machine.architecture,
        device=torch.cuda.get_device_name() if cuda else machine.architecture,
        threads=torch.get_num_threads(),
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _alone(point: Point, *, experiment: str, places: Places) -> Line:
    """`run_point` in a process of its own.

    Raises:
        InputError: as `run_point`; or the program is no longer what it was.
    """
    # What was loaded when the experiment began would be stored under the key of what is on the
    # disk now.
    if _code() != places.code:
        raise InputError(
            "the program was changed while the experiment ran, or another machine has another: "
            "start it again, from a copy of the program if you go on working on it"
        )
    torch.set_num_threads(THREADS)
    return run_point(point, experiment=experiment, places=reachable(places))


def _code() -> str:
    return code_digest(run_point)
