"""The boxes that a detector finds in each picture: selected, and in pixels of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.letterbox import Fit, fit, stretch
from edgeticket.device_runner.task.boxes.decode import (
    Grid,
    make_boxes,
    make_grid,
    numbers_per_box,
    probabilities,
    rows,
)
from edgeticket.device_runner.task.boxes.overlap import suppress
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.device_runner.task.kind import Floats, Integers, Outputs, pick

MOST_NUMBERS = 2**24  # of outputs that are looked at before a network is run


@dataclass(frozen=True)
class Detections:
    """The boxes of one picture, best first: [M, 4] xyxy, scores [M], classes [M]."""

    box: Floats
    score: Floats
    label: Integers

    def above(self, score: float) -> Detections:
        """Those with a higher score."""
        kept = self.score > score
        return Detections(self.box[kept], self.score[kept], self.label[kept])


def detect(
    outputs: Outputs, settings: BoxesSettings, sizes: Integers | None = None
) -> list[Detections]:
    """A network's outputs -> the boxes of each picture.

    Args:
        outputs: real values, [N, ...] each.
        settings: what they mean.
        sizes: height and width of each picture, [N, 2]: boxes are in its pixels then, else in
            those of the input.

    Raises:
        InputError: outputs of other shapes than the settings say.
    """
    grid, detections = make_grid(settings), []
    for i in range(len(pick(outputs, settings.scores.outputs[0]))):
        # One by one: scores of all classes are many.
        single = [array[i : i + 1] for array in outputs]
        size = settings.input if sizes is None else (int(sizes[i][0]), int(sizes[i][1]))
        seen = _detect_one(single, grid, settings)
        box = seen.box if sizes is None else place(size, settings).boxes_out(seen.box)
        if settings.cut:
            box = np.clip(box, 0.0, np.array([size[1], size[0], size[1], size[0]]))
        detections.append(Detections(box, seen.score, seen.label))
    return detections


def check_shapes(shapes: Sequence[Sequence[int]], settings: BoxesSettings) -> None:
    """Look at the outputs for one sample, of the network's own shapes, before it is run.

    Raises:
        InputError: outputs of other shapes than the settings say.
    """
    used = settings.used(len(shapes))
    if sum(math.prod(shapes[i]) for i in used) > MOST_NUMBERS:
        return  # looked at when the network has run
    zeros = [
        np.zeros((1, *shape) if i in used else (1,), np.float32) for i, shape in enumerate(shapes)
    ]
    scores, numbers = _numbers(zeros, settings)
    _check(scores, numbers, make_grid(settings), settings)


def _numbers(outputs: Outputs, settings: BoxesSettings) -> tuple[Floats, Floats]:
    """Outputs [1, ...] each -> scores [candidates, classes], and the numbers that make boxes."""
    scores = probabilities(outputs, settings)[0]
    numbers = np.zeros((len(scores), 0))
    if settings.boxes is not None:
        numbers = rows(outputs, settings.boxes, settings)[0]
    return scores, numbers


def _detect_one(outputs: Outputs, grid: Grid | None, settings: BoxesSettings) -> Detections:
    """Outputs [1, ...] each -> the boxes of a picture, in pixels of the input."""
    scores, numbers = _numbers(outputs, settings)
    _check(scores, numbers, grid, settings)
    candidate, label = _best(scores, settings)
    score = scores[candidate, label]
    box = make_boxes(numbers[candidate].astype(np.float64), candidate, grid, settings)
    if settings.nms_iou is None:
        kept = np.arange(min(settings.limit, len(box)))
    else:
        kept = suppress(
            box,
            label,
            limit_iou=settings.nms_iou,
            across_classes=settings.across_classes,
            limit=settings.limit,
        )
    return Detections(box[kept], score[kept], label[kept])


def place(size: tuple[int, int], settings: BoxesSettings) -> Fit:
    """Where a picture of ``size`` [H, W] lies in the network's input."""
    if settings.picture.startswith("letterbox"):
        return fit(*size, settings.input, place=settings.picture[len("letterbox_") :])
    if settings.picture == "stretched":
        return stretch(*size, settings.input)
    return stretch(*settings.input, settings.input)


def _best(scores: Floats, settings: BoxesSettings) -> tuple[Integers, Integers]:
    """Scores [candidates, classes] of a picture -> candidates and classes, best first.

    Of equal scores the first candidate is first, and its lowest class.
    """
    if settings.labels == "best" and scores.shape[1] > 0:
        label = scores.argmax(axis=1)
        candidate = np.flatnonzero(scores[np.arange(len(scores)), label] > settings.threshold)
        label = label[candidate]
    else:
        candidate, label = np.nonzero(scores > settings.threshold)
    order = np.argsort(-scores[candidate, label], kind="stable")[: settings.candidates]
    return candidate[order].astype(np.int64), label[order].astype(np.int64)


def _check(scores: Floats, numbers: Floats, grid: Grid | None, settings: BoxesSettings) -> None:
    wanted = numbers_per_box(settings)
    if numbers.shape[1] != wanted:
        raise InputError(
            f"settings: boxes has {numbers.shape[1]} numbers, {settings.decode.kind} needs {wanted}"
        )
    count = len(scores)
    if len(numbers) != count:
        raise InputError(f"boxes are for {len(numbers)} candidates, scores for {count}")
    if grid is not None and len(grid.x) != count:
        height, width = settings.input
        raise InputError(
            f"decode makes {len(grid.x)} {settings.decode.kind} of an input of {width}x{height}, "
            f"the outputs have {count} candidates: see strides, sizes and per_cell"
        )
