"""The settings of task boxes that the shapes of a detector's outputs tell, as far as they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = Sequence[int]

CORNERS = 4  # numbers of a box
BINS = 16  # of a distance, where a head gives distributions: 4 x 16 numbers of a box


def head_of(shapes: Sequence[Shape], classes: int, sides: tuple[int, int]) -> dict[str, Any] | None:
    """Settings for outputs of such shapes, with the batch.

    Maps are read as anchor-free heads: each cell has ``classes`` scores and four distances to the
    sides of a box, in one output or in two for each level. A list is read as finished boxes, as
    Ultralytics exports them: middle and sides in pixels, then the scores.

    Args:
        shapes: of the outputs, in the network's order.
        classes: how many the data have.
        sides: height and width of the network's input.

    Returns:
        The settings without `input`, or None where shapes leave open what is what.
    """
    if all(len(shape) == 4 for shape in shapes):
        return _maps(shapes, classes, sides)
    if len(shapes) == 1 and len(shapes[0]) == 3:
        return _list(shapes[0], classes)
    return None


def _maps(shapes: Sequence[Shape], classes: int, sides: tuple[int, int]) -> dict[str, Any] | None:
    for layout, channels, rows in (("first", 1, 2), ("last", 3, 1)):
        strides = [_stride(shape[rows : rows + 2], sides) for shape in shapes]
        if None in strides:
            continue
        numbers = [shape[channels] for shape in shapes]
        parts = _parts(numbers, classes)
        if parts is None:
            continue
        levels = [strides[output] for output in parts["boxes"]["outputs"]]
        if [strides[output] for output in parts["scores"]["outputs"]] != levels:
            continue  # scores and boxes of one cell would lie in two places
        bins = {"bins": BINS} if parts["boxes"]["count"] > CORNERS else {}
        decode = {"kind": "centres", "coding": "ltrb", "strides": levels, **bins}
        return {"layout": layout, **parts, "decode": decode, "activation": "sigmoid"}
    return None


def _stride(cells: Shape, sides: tuple[int, int]) -> int | None:
    """Pixels from a cell to the next; None: they are none of a map that covers the input."""
    down, across = (-(-side // count) for side, count in zip(sides, cells, strict=True))
    fits = all(-(-side // down) == count for side, count in zip(sides, cells, strict=True))
    return down if down == across and fits else None


def _parts(numbers: Sequence[int], classes: int) -> dict[str, Any] | None:
    """Which outputs hold scores, and which boxes, by how many numbers a cell has."""
    every = list(range(len(numbers)))
    for box in (CORNERS, CORNERS * BINS):
        if all(count == box + classes for count in numbers):
            return {
                "scores": {"outputs": every, "first": box, "count": classes},
                "boxes": {"outputs": every, "first": 0, "count": box},
            }
        if len(numbers) % 2 or sorted(numbers) != sorted([box, classes] * (len(numbers) // 2)):
            continue
        scores = [output for output in every if numbers[output] == classes]
        boxes = [output for output in every if numbers[output] == box]
        if box == classes:  # alike: scores come first, as most heads have them
            scores, boxes = every[: len(every) // 2], every[len(every) // 2 :]
        return {
            "scores": {"outputs": scores, "count": classes},
            "boxes": {"outputs": boxes, "count": box},
        }
    return None


def _list(shape: Shape, classes: int) -> dict[str, Any] | None:
    numbers = CORNERS + classes
    if shape[1] == shape[2] or numbers not in shape[1:]:
        return None
    return {
        "layout": "first" if shape[1] == numbers else "last",
        "scores": {"first": CORNERS, "count": classes},
        "boxes": {"first": 0, "count": CORNERS},
        "decode": {"kind": "direct", "form": "cxcywh"},
    }
