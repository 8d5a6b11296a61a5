"""All points of a search, finished: what fails costs one point or one target, never the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.search.deadline import Deadline
from edgeticket.pipeline.search.front import Bounds, Point, PointOnTarget, Score, nearness
from edgeticket.pipeline.search.halving import Entrant
from edgeticket.pipeline.search.points import TRIES, finish
from edgeticket.pipeline.search.probing import Asked


@dataclass(frozen=True)
class Finished:
    """Points that count, the largest first, each measured on every target that counts.

    left_out: target -> why it counts no more.
    unfinished: point -> why it is left out.
    """

    points: tuple[Point, ...]
    left_out: Mapping[str, str]
    unfinished: Mapping[str, str]


def finish_all(
    job: Job,
    entrants: Sequence[tuple[Recipe, Entrant]],
    devices: Sequence[Device],
    asked: Asked,
    bounds: Bounds,
    deadline: Deadline,
    *,
    dense: Score | None,
    recipe_folder: Path,
    data_folder: Path,
    folder: Path,
    left_out: Mapping[str, str],
    runtimes: Sequence[str],
    remeasure: bool,
) -> Finished:
    """Round, bundle and measure each point; its folder is in ``folder``.

    The points that are likely to be chosen come first. Once the time is over no other is begun.

    Args:
        entrants: with the recipe that makes each, the largest first.
        dense: what the dense network scores.
        left_out: targets that count no more.
        remeasure: even what was measured before.

    Raises:
        DeviceError: nothing is left that may be believed.
        InputError: no point can be made.
    """
    gone, unfinished = dict(left_out), {}
    made: dict[str, Point] = {}
    failure: InputError | None = None
    order = sorted(entrants, key=lambda pair: nearness(_expected(*pair), dense, bounds))
    with job.progress.task("finishing the front", len(order)) as advance:
        for recipe, one in order:
            if deadline.is_over and (made or failure):
                unfinished[recipe.name] = "the time was over; the same command goes on from there"
                continue
            counting = [device for device in devices if device.target not in gone]
            try:
                point, failed = finish(
                    job, recipe, one, counting, asked,
                    recipe_folder=recipe_folder, data_folder=data_folder, folder=folder,
                    runtimes=runtimes, remeasure=remeasure, deadline=deadline,
                )  # fmt: skip
            except InputError as error:
                failure, unfinished[recipe.name] = error, str(error)
                job.progress.say(f"{recipe.name} is left out: {error}")
                continue
            made[recipe.name] = point
            for target, reason in failed.items():
                gone[target] = reason.removeprefix(f"{target}: ")
                job.progress.say(f"{target} is left out: {gone[target]}")
            if len(gone) == len(devices):
                raise DeviceError(
                    "no target is left: "
                    + "; ".join(f"{name}: {why}" for name, why in gone.items())
                )
            advance(1, recipe.name)
    if not made and failure is not None:
        raise failure
    points = [made[recipe.name] for recipe, _ in entrants if recipe.name in made]
    finished = believed(points, devices, gone, asked)
    return replace(finished, unfinished={**unfinished, **finished.unfinished})


def believed(
    points: Sequence[Point], devices: Sequence[Device], left_out: Mapping[str, str], asked: Asked
) -> Finished:
    """Leave out targets where nothing was VALID, then points that were not; or allow them.

    Raises:
        DeviceError: nothing is left.
    """
    gone, unfinished = dict(left_out), {}
    counting = [device for device in devices if device.target not in gone]
    if not asked.allow_invalid:
        for device in counting:
            if not any(_is_valid(point, device) for point in points):
                reasons = "; ".join(_reasons(points[0].measured[device.label]))
                gone[device.target] = f"every measurement was INVALID {TRIES} times: {reasons}"
        counting = [device for device in counting if device.target not in gone]
        if not counting:
            raise DeviceError(
                "nothing that was measured may be believed: "
                + "; ".join(f"{target}: {reason}" for target, reason in gone.items())
                + "; --allow-invalid goes on with it, and says so"
            )
    kept = []
    for point in points:
        bad = [d for d in counting if not asked.allow_invalid and not _is_valid(point, d)]
        if bad:
            unfinished[point.name] = "; ".join(
                f"on {d.label} INVALID {TRIES} times: "
                + "; ".join(_reasons(point.measured[d.label]))
                for d in bad
            )
            continue
        measured = {device.label: point.measured[device.label] for device in counting}
        kept.append(replace(point, measured=measured))
    if not kept:
        raise DeviceError(
            "no point was VALID on all targets: "
            + "; ".join(f"{name}: {reason}" for name, reason in unfinished.items())
            + "; --allow-invalid goes on with it, and says so"
        )
    return Finished(tuple(kept), gone, unfinished)


def _is_valid(point: Point, device: Device) -> bool:
    return device.label in point.measured and point.measured[device.label].valid


def _reasons(measured: PointOnTarget) -> tuple[str, ...]:
    return measured.reasons or ("no reason was given",)


def _expected(recipe: Recipe, one: Entrant) -> Point:
    """A point before it is rounded and measured: its probes, and its score in float32."""
    proposal = one.proposal
    return Point(
        name=recipe.name,
        structure=proposal.structure,
        precision=proposal.precision,
        opinion=proposal.opinion,
        epochs=0,
        score=one.score,
        predicted_ms=proposal.time_ns / 1e6,
        measured={
            label: PointOnTarget(
                "", whole.runtime, whole.measured_ns / 1e6, whole.size_bytes, None, True, ()
            )
            for label, whole in proposal.wholes.items()
        },
    )
