"""Mean average precision of boxes, as COCO has it: the numbers of pycocotools to the last bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeticket.device_runner.task.boxes.detections import Detections
from edgeticket.device_runner.task.boxes.overlap import iou
from edgeticket.device_runner.task.kind import Flags, Floats, Integers
from edgeticket.device_runner.unavailable import Unavailable

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of overlap
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is looked up
MOST = 100  # boxes of one class in one picture that count
# By name: from, up to pixels of area, both included.
AREAS = {
    "": (0.0, 1e10),
    "_small": (0.0, 32.0**2),
    "_medium": (32.0**2, 96.0**2),
    "_large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class Truth:
    """The right boxes of one picture: [K, 4] xyxy, classes, crowds, areas, [K] each.

    Of a crowd many boxes may be, none must. Areas decide which range of sizes a box is of; COCO
    takes those of its outlines.
    """

    box: Floats
    label: Integers
    crowd: Flags
    area: Floats


@dataclass(frozen=True)
class _Judged:
    """Boxes of one class in one picture, best first, for each threshold: [T, M]."""

    score: Floats
    hit: Flags
    ignored: Flags
    wanted: int  # right boxes that must be


def average_precisions(
    detections: Sequence[Detections], truths: Sequence[Truth]
) -> dict[str, float | Unavailable]:
    """Detections and right boxes of the same pictures -> ``map``, ``map50``, ... by name."""
    labels = _labels(truths)
    by_area: dict[str, list[Floats]] = {name: [] for name in AREAS}
    recalls: list[Floats] = []
    for label in labels:
        pictures = _pictures(detections, truths, label)
        for name, area in AREAS.items():
            curve = _rank(pictures, area, len(truths)).precision()
            if curve is not None:
                by_area[name].append(curve[0])
                if name == "":
                    recalls.append(curve[1])
    metrics: dict[str, float | Unavailable] = {}
    for name, curves in by_area.items():
        metrics[f"map{name}"] = _mean(curves, slice(None), name)
    metrics["map50"] = _mean(by_area[""], slice(0, 1), "")
    metrics["map75"] = _mean(by_area[""], slice(5, 6), "")
    metrics["recall"] = _mean(recalls, slice(None), "")
    return metrics


def rank_classes(detections: Sequence[Detections], truths: Sequence[Truth]) -> list[Ranked]:
    """The boxes of each class that the right ones have, of all sizes, best first."""
    return [
        _rank(_pictures(detections, truths, label), AREAS[""], len(truths))
        for label in _labels(truths)
    ]


def _labels(truths: Sequence[Truth]) -> list[int]:
    labels = np.unique(np.concatenate([np.zeros(0, np.int64), *(t.label for t in truths)]))
    return [int(label) for label in labels]


_Picture = tuple[int, Detections, Truth, Floats]


def _pictures(
    detections: Sequence[Detections], truths: Sequence[Truth], label: int
) -> list[_Picture]:
    """Boxes of one class in the pictures that have any: their number, both, the overlaps."""
    parts = ((_of(d, label), _right(t, label)) for d, t in zip(detections, truths))
    return [
        (i, d, t, iou(d.box, t.box, t.crowd))
        for i, (d, t) in enumerate(parts)
        if len(d.score) or len(t.label)
    ]


def _mean(curves: Sequence[Floats], thresholds: slice, area: str) -> float | Unavailable:
    if not curves:
        return Unavailable(f"the targets have no{area.replace('_', ' ')} boxes")
    return float(np.mean(np.stack(curves)[:, thresholds]))


def _of(detections: Detections, label: int) -> Detections:
    chosen = np.flatnonzero(detections.label == label)
    chosen = chosen[np.argsort(-detections.score[chosen], kind="stable")][:MOST]
    return Detections(detections.box[chosen], detections.score[chosen], detections.label[chosen])


def _right(truth: Truth, label: int) -> Truth:
    chosen = truth.label == label
    return Truth(truth.box[chosen], truth.label[chosen], truth.crowd[chosen], truth.area[chosen])


def _judge(
    detections: Detections, truth: Truth, overlap: Floats, area: tuple[float, float]
) -> _Judged:
    """Match boxes of one class in one picture, best first, each to the right box it overlaps most.

    Right boxes of another size and crowds need not be matched, and boxes that match them count
    for nothing. Of equal overlaps the last right box wins.
    """
    low, high = area
    optional = truth.crowd | (truth.area < low) | (truth.area > high)
    order = np.argsort(optional, kind="stable")
    overlap, optional, crowd = overlap[:, order], optional[order], truth.crowd[order]
    shape = (len(THRESHOLDS), len(detections.score))
    hit, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    taken = np.zeros((len(THRESHOLDS), len(optional)), np.bool_)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, np.newaxis]
    for i in np.flatnonzero((overlap >= THRESHOLDS[0]).any(axis=1)).tolist():
        free = (overlap[i] >= least) & (~taken | crowd)
        must = free & ~optional
        # A right box that must be matched comes before any other.
        choice = np.where(must.any(axis=1)[:, np.newaxis], must, free)
        hit[:, i] = choice.any(axis=1)
        worth = np.where(choice, overlap[i], -1.0)
        best = worth.shape[1] - 1 - worth[:, ::-1].argmax(axis=1)
        matched = np.flatnonzero(hit[:, i])
        taken[matched, best[matched]] = True
        ignored[matched, i] = optional[best[matched]]
    side = detections.box[:, 2:] - detections.box[:, :2]
    size = side[:, 0] * side[:, 1]
    ignored |= ~hit & ((size < low) | (size > high))
    return _Judged(detections.score, hit, ignored, int((~optional).sum()))


def _rank(pictures: Sequence[_Picture], area: tuple[float, float], count: int) -> Ranked:
    """One class in all pictures."""
    judged = [_judge(d, t, overlap, area) for _, d, t, overlap in pictures]
    numbers = [i for i, *_ in pictures]
    wanted = np.zeros(count, dtype=np.int64)
    wanted[numbers] = [one.wanted for one in judged]
    score = np.concatenate([np.zeros(0), *(one.score for one in judged)])
    order = np.argsort(-score, kind="stable")
    none = np.zeros((len(THRESHOLDS), 0), np.bool_)
    hit = np.concatenate([none, *(one.hit for one in judged)], axis=1)[:, order]
    ignored = np.concatenate([none, *(one.ignored for one in judged)], axis=1)[:, order]
    picture = np.repeat(np.asarray(numbers, np.int64), [len(one.score) for one in judged])[order]
    return Ranked(hit & ~ignored, ~hit & ~ignored, picture, wanted)


@dataclass(frozen=True)
class Ranked:
    """Boxes of one class in all pictures, best first, for each threshold: [T, M]."""

    right: Flags
    wrong: Flags
    picture: Integers  # [M]
    wanted: Integers  # [pictures]: right boxes that must be

    def precision(self, counts: Integers | None = None) -> tuple[Floats, Floats] | None:
        """Precision [T, R] at `RECALLS`, and the highest recall [T]; None: nothing is wanted.

        Args:
            counts: how often each picture counts, [pictures]; None: once.
        """
        wanted = int(self.wanted.sum() if counts is None else self.wanted @ counts)
        if wanted == 0:
            return None
        boxes = len(self.picture)
        curves, highest = np.zeros((len(THRESHOLDS), len(RECALLS))), np.zeros(len(THRESHOLDS))
        if boxes == 0:
            return curves, highest
        weights: Any = 1 if counts is None else counts[self.picture]
        right = np.cumsum(self.right * weights, axis=1).astype(np.float64)
        wrong = np.cumsum(self.wrong * weights, axis=1).astype(np.float64)
        recall = right / wanted
        precision = right / (right + wrong + np.spacing(1))
        # The best that is reached at this recall or a higher one.
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for t in range(len(THRESHOLDS)):
            at = np.searchsorted(recall[t], RECALLS, side="left")
            reached = at < boxes
            curves[t, reached] = precision[t, at[reached]]
        return curves, recall[:, -1]
