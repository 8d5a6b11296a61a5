"""Keypoints: where are the points of a thing? Coordinates, or the highest cells of heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import (
    HIGHER,
    LOWER,
    Flags,
    Floats,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    pick,
)
from edgeticket.device_runner.task.settings import (
    Settings,
    choice,
    flag,
    integer,
    items,
    number,
)
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.task.targets import check_count, check_finite, target
from edgeticket.device_runner.unavailable import Unavailable

_POINTS = "give x and y of each point, [N, points, 2]"
_PAIR = {"type": "integer", "minimum": 0}
_FACTOR = {"type": "number"}


@dataclass(frozen=True)
class KeypointsSettings(Settings):
    """Settings of the task `keypoints`."""

    output: int = integer(0, "the output to read")
    form: str = choice(
        "points",
        ("points", "heatmaps_first", "heatmaps_last"),
        "what the output is: coordinates [N, points, 2] or [N, 2 points], or a heat map for each "
        "point, [N, points, H, W] or [N, H, W, points]",
    )
    factor: tuple[float, float] = items(
        (1.0, 1.0), _FACTOR, "pixels of the targets in one unit of x and of y", least=2, most=2
    )
    offset: tuple[float, float] = items(
        (0.0, 0.0), _FACTOR, "added to x and y before `factor`: 0.5, 0.5 for the middle of cells",
        least=2, most=2,
    )  # fmt: skip
    refine: bool = flag(
        False, "move a heat map's highest cell by a quarter towards its higher neighbour"
    )
    length: str = choice(
        "box",
        ("box", "pair", "target", "pixels"),
        "what a distance is measured by: the longer side of the box around a sample's visible "
        "points, the distance of two of its points, the targets' `length`, or pixels",
    )
    pair: tuple[int, int] = items(
        (0, 1), _PAIR, "the two points of `length: pair`", least=2, most=2
    )
    threshold: float = number(
        0.2, "a point is right if its distance is at most this times the length", least=0
    )
    tolerance_px: float = number(
        2.0, "two answers agree if no point moves further than this, in pixels", least=0
    )


def metrics(settings: KeypointsSettings) -> tuple[Metric, ...]:
    """Of distances between a point and where it should be."""
    return (
        Metric("pck", HIGHER, "share", "visible points whose distance is within the threshold"),
        Metric("distance_px", LOWER, "pixels", "mean distance of visible points"),
        Metric("rmse_px", LOWER, "pixels", "root of the mean squared distance of visible points"),
    )


def decode(output: npt.NDArray[Any], settings: KeypointsSettings) -> Floats:
    """The network's output -> points [N, points, 2] in pixels of the targets.

    Raises:
        InputError: an output of another shape.
    """
    if settings.form == "points":
        numbers = math.prod(output.shape[1:])
        if output.ndim not in (2, 3) or numbers % 2 or (output.ndim == 3 and output.shape[2] != 2):
            raise InputError(
                f"output {settings.output} has shape {list(output.shape)}: points are [N, points, "
                "2] or [N, 2 points]; for heat maps set form"
            )
        points = output.reshape(len(output), numbers // 2, 2).astype(np.float64)
    else:
        if output.ndim != 4 or 0 in output.shape[1:]:
            raise InputError(
                f"output {settings.output} has shape {list(output.shape)}: heat maps are "
                "[N, points, H, W] or [N, H, W, points]"
            )
        maps = output if settings.form == "heatmaps_first" else np.moveaxis(output, 3, 1)
        points = highest(maps, refine=settings.refine)
    return np.asarray((points + np.asarray(settings.offset)) * np.asarray(settings.factor))


def highest(maps: npt.NDArray[Any], *, refine: bool) -> Floats:
    """Heat maps [N, points, H, W] -> x and y of their highest cells [N, points, 2].

    Of equal cells the first counts, row by row. With ``refine`` each coordinate moves by 0.25
    towards the higher of its two neighbours (Xiao et al. 2018), except at the edge.
    """
    count, points, height, width = maps.shape
    at = maps.reshape(count, points, height * width).argmax(axis=2)
    y, x = at // width, at % width
    where = np.stack([x, y], axis=2).astype(np.float64)
    if not refine:
        return where
    i, k = np.arange(count)[:, np.newaxis], np.arange(points)
    values = maps.astype(np.float64)
    for axis, size in ((0, width), (1, height)):
        inside = (where[..., axis] > 0) & (where[..., axis] < size - 1)
        step_x, step_y = (1, 0) if axis == 0 else (0, 1)
        after = values[i, k, np.minimum(y + step_y, height - 1), np.minimum(x + step_x, width - 1)]
        before = values[i, k, np.maximum(y - step_y, 0), np.maximum(x - step_x, 0)]
        where[..., axis] += np.where(inside, 0.25 * np.sign(after - before), 0.0)
    return where


def agree(outputs: Outputs, others: Outputs, settings: KeypointsSettings) -> Flags:
    """No point moves further than the tolerance."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    finite = finite_samples(a) & finite_samples(b)
    with np.errstate(invalid="ignore", over="ignore"):
        moved = decode(a, settings) - decode(b, settings)
        near = np.hypot(moved[..., 0], moved[..., 1]) <= settings.tolerance_px
    flags: Flags = near.all(axis=1) & finite
    return flags


def check(targets: Targets, settings: KeypointsSettings, count: int) -> None:
    """Refuse points that are not finite, and lengths by which nothing can be divided."""
    points = target(targets, "points", _POINTS)
    check_count(points, "points", count)
    if points.ndim != 3 or points.shape[2] != 2:
        raise InputError(f"targets: 'points' has shape {list(points.shape)}: {_POINTS}")
    if "visible" in targets and targets["visible"].shape != points.shape[:2]:
        raise InputError(
            f"targets: 'visible' has shape {list(targets['visible'].shape)}: it must be one number "
            f"for each point, {list(points.shape[:2])}"
        )
    hidden = ~_visible(targets, slice(None))[..., np.newaxis]
    check_finite(np.where(hidden, points.dtype.type(0), points), "points")
    if settings.length == "pair" and max(settings.pair) >= points.shape[1]:
        raise InputError(
            f"settings: pair is {list(settings.pair)}, the targets have {points.shape[1]} points, "
            "counted from 0"
        )
    if settings.length == "target":
        length = target(targets, "length", "give a length in pixels for each sample, [N]")
        check_count(length, "length", count)
        check_finite(length, "length")
        if length.ndim != 1 or (length <= 0).any():
            raise InputError("targets: 'length' must be a number above 0 for each sample, [N]")


def lengths(targets: Targets, settings: KeypointsSettings, samples: slice) -> Floats:
    """What distances are measured by, [N]; 0 where a sample has no extent."""
    points = targets["points"][samples].astype(np.float64)
    if settings.length == "pixels":
        return np.ones(len(points))
    if settings.length == "target":
        return targets["length"][samples].astype(np.float64)
    if settings.length == "pair":
        apart = points[:, settings.pair[0]] - points[:, settings.pair[1]]
        return np.asarray(np.hypot(apart[:, 0], apart[:, 1]))
    visible = _visible(targets, samples)[..., np.newaxis]
    low = np.where(visible, points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(visible, points, -np.inf).max(axis=1, initial=-np.inf)
    sides: Floats = np.where(high >= low, high - np.where(high >= low, low, 0.0), 0.0).max(axis=1)
    return sides


def _visible(targets: Targets, samples: slice) -> Flags:
    if "visible" in targets:
        flags: Flags = targets["visible"][samples] > 0
        return flags
    return np.ones(targets["points"][samples].shape[:2], dtype=np.bool_)


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: KeypointsSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.right = self.judged = 0
        self.distance, self.squared = ExactSum(), ExactSum()

    def take(self, outputs: Outputs, samples: slice) -> None:
        points = decode(pick(outputs, self.settings.output), self.settings)
        right = self.targets["points"][samples].astype(np.float64)
        if points.shape != right.shape:
            raise InputError(
                f"output {self.settings.output} gives {points.shape[1]} points for a sample, "
                f"the targets have {right.shape[1]}: they must be alike"
            )
        visible = _visible(self.targets, samples)
        error = points - right
        distance = np.hypot(error[..., 0], error[..., 1])
        length = lengths(self.targets, self.settings, samples)[:, np.newaxis]
        judged = visible & (length > 0)
        near = judged & (distance <= self.settings.threshold * length)
        counted = np.stack([near.sum(axis=1), judged.sum(axis=1)], axis=1).astype(np.float64)
        self.parts.extend(map(tuple, counted.tolist()))
        self.judged += int(judged.sum())
        self.right += int(near.sum())
        self.distance.extend(distance[visible].tolist())
        self.squared.extend((error**2).sum(axis=2)[visible].tolist())

    def finish(self) -> Mapping[str, float | Unavailable]:
        hidden = Unavailable("no point of any sample is visible")
        flat = Unavailable("no sample has two visible points apart, so there is no length")
        seen = self.distance.count > 0
        return {
            "pck": self.right / self.judged if self.judged else (flat if seen else hidden),
            "distance_px": self.distance.mean if seen else hidden,
            "rmse_px": math.sqrt(self.squared.mean) if seen else hidden,
        }


TASK = Task(
    name="keypoints",
    meaning="where the points of a thing are",
    settings=KeypointsSettings,
    targets={
        "points": "[N, points, 2] x and y in pixels",
        "visible?": "[N, points] above 0 where a point counts",
        "length?": "[N] what distances are measured by, in pixels",
    },
    metrics=metrics,
    headline="pck",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
