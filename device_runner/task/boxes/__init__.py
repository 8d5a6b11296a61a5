"""Boxes: what is where? Detectors, judged by COCO's mean average precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.boxes.coco import Truth, average_precisions, rank_classes
from edgeticket.device_runner.task.boxes.detections import Detections, check_shapes, detect
from edgeticket.device_runner.task.boxes.overlap import iou
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Integers,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    pick,
)
from edgeticket.device_runner.task.resampling import Reweighted
from edgeticket.device_runner.task.targets import check_count, check_finite, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

SLACK_PX = 1.0  # by which a right box may be outside of its picture: data sets round
_SAMPLE = "give for each box the sample that it is of, [boxes]"
_BOX = "give the corners of each box, [boxes, 4] (x1, y1, x2, y2)"
_LABEL = "give the class of each box, [boxes]"
_SIZE = "give height and width of each picture, [N, 2], or set picture: input"


def metrics(settings: BoxesSettings) -> tuple[Metric, ...]:
    """COCO's numbers."""

    def share(name: str, meaning: str) -> Metric:
        return Metric(name, HIGHER, "share", meaning)

    return (
        share("map", "average precision, mean over classes and overlaps of 0.5, 0.55, ... 0.95"),
        share("map50", "average precision at an overlap of 0.5, mean over classes"),
        share("map75", "the same at 0.75"),
        share("map_small", "`map` of boxes up to 32x32 pixels"),
        share("map_medium", "`map` of boxes from 32x32 to 96x96 pixels"),
        share("map_large", "`map` of boxes from 96x96 pixels on"),
        share("recall", "right boxes that are matched, of 100 a picture and class, mean as `map`"),
    )


def agree(outputs: Outputs, others: Outputs, settings: BoxesSettings) -> Flags:
    """The same boxes: each above `agree_score` has one partner of its class in the other answer."""
    finite: Any = True
    for i in settings.used(len(outputs)):
        a, b = pick(outputs, i), pick(others, i)
        finite = finite & finite_samples(a) & finite_samples(b)
    flags: Flags = np.array(finite)
    with np.errstate(invalid="ignore", over="ignore"):
        pairs = zip(
            detect(_blank(outputs, flags), settings), detect(_blank(others, flags), settings)
        )
        for i, (first, second) in enumerate(pairs):
            score = settings.agree_score
            flags[i] &= same_boxes(first.above(score), second.above(score), settings.agree_iou)
    return flags


def same_boxes(first: Detections, second: Detections, least_iou: float) -> bool:
    """Whether each box has a partner of its own: of its class, with enough overlap.

    The best box chooses first, and takes the one that it overlaps most.
    """
    if len(first.score) != len(second.score):
        return False
    overlap = iou(first.box, second.box)
    overlap[first.label[:, np.newaxis] != second.label] = -1.0
    for i in range(len(overlap)):
        partner = int(overlap[i].argmax())
        if overlap[i, partner] < least_iou or overlap[i, partner] < 0:
            return False
        overlap[:, partner] = -1.0
    return True


def check(targets: Targets, settings: BoxesSettings, count: int) -> None:
    """Refuse boxes that cannot be right."""
    box = target(targets, "box", _BOX)
    sample, label = target(targets, "sample", _SAMPLE), target(targets, "label", _LABEL)
    if box.ndim != 2 or box.shape[1] != 4:
        raise InputError(f"targets: 'box' has shape {list(box.shape)}: {_BOX}")
    for name in ("sample", "label", "crowd", "area"):
        if name in targets and targets[name].shape != (len(box),):
            raise InputError(
                f"targets: {name!r} has shape {list(targets[name].shape)}, there are {len(box)} "
                "boxes: one number for each is needed"
            )
    check_integers(sample, "sample")
    check_integers(label, "label")
    if box.dtype.kind == "f":  # rows are boxes, not samples
        _first(
            ~np.isfinite(box).all(axis=1),
            lambda i: f"is {box[i].tolist()}, which is not finite: mend it, or leave it out",
        )
    check_finite(box, "box")
    if settings.picture != "input" or "size" in targets:
        size = target(targets, "size", _SIZE)
        check_count(size, "size", count)
        check_integers(size, "size")
        if size.shape != (count, 2) or (size < 1).any():
            raise InputError(
                f"targets: 'size' has shape {list(size.shape)}, or sides of 0: {_SIZE}"
            )
    _first(
        (sample < 0) | (sample >= count),
        lambda i: f"is of sample {sample[i]}, there are {count}, counted from 0: leave it out",
    )
    classes = settings.scores.count - (settings.background is not None)
    _first(
        (label < 0) | (label >= classes),
        lambda i: (
            f"is of class {label[i]}, the network has {classes}, counted from 0: leave it out, or "
            "see count and background of the scores"
        ),
    )
    _first(
        (box[:, 2:] < box[:, :2]).any(axis=1),
        lambda i: f"is {box[i].tolist()}: its second corner must be right of and below its first",
    )
    if count:
        sides = _sizes(targets, settings, count)[sample.astype(np.int64)][:, ::-1]
        outside = (box[:, :2] < -SLACK_PX) | (box[:, 2:] > sides + SLACK_PX)
        _first(
            outside.any(axis=1),
            lambda i: (
                f"is {box[i].tolist()}, outside of its picture of {sides[i][0]}x{sides[i][1]}"
                ": cut it at the edges, or leave it out"
            ),
        )


def take_first(targets: Targets, count: int) -> Targets:
    """The boxes of the first ``count`` samples; `size` has a row for each sample."""
    chosen = targets["sample"] < count
    return {
        name: array[:count] if name == "size" else array[chosen] for name, array in targets.items()
    }


def _first(wrong: Any, sentence: Callable[[int], str]) -> None:
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise InputError(f"targets: box {i} {sentence(i)}")


def _sizes(targets: Targets, settings: BoxesSettings, count: int) -> Integers:
    """Height and width of each picture, [N, 2]."""
    if settings.picture == "input":
        return np.tile(np.asarray(settings.input, dtype=np.int64), (count, 1))
    return targets["size"].astype(np.int64)


def _blank(outputs: Outputs, finite: Flags) -> list[Any]:
    """The outputs with zeros for samples that are not finite."""
    return [
        np.where(finite.reshape(-1, *[1] * (array.ndim - 1)), array, 0)
        if len(array) == len(finite)
        else array
        for array in outputs
    ]


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: BoxesSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.sizes = _sizes(targets, settings, count)
        self.detections: list[Detections] = []

    def take(self, outputs: Outputs, samples: slice) -> None:
        self.detections += detect(outputs, self.settings, self.sizes[samples])

    def finish(self) -> Mapping[str, float | Unavailable]:
        return average_precisions(self.detections, read_truths(self.targets, self.count))

    def reweighted(self) -> Reweighted:
        """Boxes are matched picture by picture, so that only the counting is done again."""
        ranked = rank_classes(self.detections, read_truths(self.targets, self.count))

        def score(counts: Integers) -> float | None:
            curves = [one.precision(counts) for one in ranked]
            means = [float(curve[0].mean()) for curve in curves if curve is not None]
            return sum(means) / len(means) if means else None

        return Reweighted(self.count, sum(one.right.size for one in ranked), score)


def read_truths(targets: Targets, count: int) -> list[Truth]:
    """Targets -> the right boxes of each of ``count`` samples."""
    box = targets["box"].astype(np.float64)
    side = box[:, 2:] - box[:, :2]
    label = targets["label"].astype(np.int64)
    crowd = targets.get("crowd", np.zeros(len(box), np.uint8)) > 0
    area = targets.get("area", side[:, 0] * side[:, 1]).astype(np.float64)
    order = np.argsort(targets["sample"], kind="stable")
    ends = np.cumsum(np.bincount(targets["sample"].astype(np.int64), minlength=count))
    return [Truth(box[i], label[i], crowd[i], area[i]) for i in np.split(order, ends[:-1])]


TASK = Task(
    name="boxes",
    meaning="what is where (detection)",
    settings=BoxesSettings,
    targets={
        "sample": "[boxes] the sample of each box, from 0",
        "box": "[boxes, 4] x1, y1, x2, y2 in pixels of the picture",
        "label": "[boxes] the class of each box, from 0",
        "crowd?": "[boxes] 1 for a box around many things",
        "area?": "[boxes] pixels of the thing itself, by which it is small or large",
        "size?": "[N, 2] height and width of each picture, unless targets are in input pixels",
    },
    metrics=metrics,
    headline="map",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
    take_first=take_first,
    check_shapes=check_shapes,
)
