"""Boxes of pictures, from whatever layout: checked, mended, and moved with the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.boxes import SLACK_PX
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.pipeline.data.decoded import Decoded
from edgeticket.pipeline.data.geometry import Floats, cut, move_of, picture_of
from edgeticket.pipeline.data.layouts.part import Part, Source
from edgeticket.pipeline.data.targets import MOST_IN_ONE

_MEND = "mend it, or say data.mend_boxes: true"

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Marked:
    """Pictures and their boxes, in pixels of the pictures as they are upright.

    Args:
        root: the folder that ``names`` are relative to.
        names: of the pictures.
        sample: which picture each box is of, [M].
        box: x1, y1, x2, y2; of pictures whose size is not known before they are decoded in parts
            of their sides (``normalized``).
        label: the class of each.
        where: number of a box -> where it stands, and what is there, for errors.
        crowd, area: as the task has them, or None.
        declared: height and width that the annotations say, [N, 2], 0 where they do not.
    """

    root: Path
    names: tuple[str, ...]
    sample: Integers
    box: Floats
    label: Integers
    where: Callable[[int], str]
    normalized: bool = False
    crowd: npt.NDArray[np.uint8] | None = None
    area: Floats | None = None
    declared: Integers | None = None

    def keep(self, kept: npt.NDArray[np.bool_], box: Floats) -> Marked:
        """The boxes that are ``kept``; ``box`` is where these are now."""
        numbers = np.flatnonzero(kept)
        where = self.where
        return replace(
            self,
            sample=self.sample[kept],
            box=box,
            label=self.label[kept],
            where=lambda i: where(int(numbers[i])),
            crowd=None if self.crowd is None else self.crowd[kept],
            area=None if self.area is None else self.area[kept],
        )


def read_boxes(marked: Marked, source: Source) -> Part:
    """Decode the pictures, and put the boxes where the task has them.

    Raises:
        InputError: a picture or a box that cannot be; names it.
    """
    check_counts(marked)
    pictures = source.decode(marked.root, marked.names)
    _check_declared(marked, pictures)
    if marked.normalized:
        marked = replace(marked, box=marked.box * _sides(pictures.sizes)[marked.sample])
    whole = check_boxes(marked, pictures.sizes, source)
    picture = picture_of(source.steps)
    arrays: dict[str, Any] = {}
    if picture is None:
        whole = _in_input(whole, pictures.sizes, source)
    elif picture != "input":
        arrays["size"] = pictures.sizes
    arrays |= {"sample": whole.sample, "box": whole.box.astype(np.float32), "label": whole.label}
    if whole.crowd is not None and whole.crowd.any():
        arrays["crowd"] = whole.crowd
    if whole.area is not None:
        arrays["area"] = whole.area
    return Part(pictures.arrays, arrays)


def box_settings(part: Part, classes: int, source: Source) -> dict[str, Any]:
    """The settings of the task that the data decide, checked against those of the recipe.

    Raises:
        InputError: the recipe says another input, number of classes, or `picture`; or no picture
            has a box.
    """
    if not len(part.arrays["box"]):
        raise InputError(
            f"{source.cfg.title}: none of the {len(part.inputs)} pictures has a box, so that there "
            "is nothing to learn or to judge: see whether boxes and pictures belong to one another"
        )
    settings = BoxesSettings.from_json(dict(source.task.settings))
    height, width = part.inputs.shape[1:3]
    if settings.input != (height, width):
        raise InputError(
            f"task.input is {list(settings.input)}, but pictures become {[height, width]} (height, "
            "width) by data.resize, data.crop or data.letterbox: make them alike"
        )
    told = settings.scores.count - (settings.background is not None)
    if told != classes:
        raise InputError(
            f"task.scores: count and background leave {told} classes, but {source.cfg.title} has "
            f"{classes}: make them alike"
        )
    picture = picture_of(source.steps) or "input"
    if settings.picture not in ("input", picture):
        raise InputError(
            f"task.picture is {settings.picture}, but data make it {picture}: leave it out"
        )
    return {"picture": picture}


def check_counts(marked: Marked) -> None:
    """
    Raises:
        InputError: a picture has more boxes than any has.
    """
    counts = np.bincount(marked.sample, minlength=len(marked.names))
    most = int(counts.argmax()) if len(counts) else 0
    if len(counts) and counts[most] > MOST_IN_ONE:
        first = int(np.flatnonzero(marked.sample == most)[0])
        raise InputError(
            f"{marked.where(first)}: its picture has {counts[most]:,} boxes, more than "
            f"{MOST_IN_ONE:,}: leave the picture out, or cut it into several"
        )


def check_boxes(marked: Marked, sizes: Integers, source: Source) -> Marked:
    """Boxes within their pictures; those that are outside by a rounding are cut.

    Raises:
        InputError: a box without an area, or outside of its picture, unless they are to be mended.
    """
    high = _sides(sizes)[marked.sample]
    inner = np.clip(marked.box, 0.0, high)
    empty = (marked.box[:, 2:] <= marked.box[:, :2]).any(axis=1)
    outside = ((marked.box < -SLACK_PX) | (marked.box > high + SLACK_PX)).any(axis=1)
    gone = np.asarray((inner[:, 2:] <= inner[:, :2]).any(axis=1))
    if not source.cfg.mend_boxes:
        for wrong, what in (
            (empty, "has no area"),
            (outside | gone, "is outside of its picture"),
        ):
            if wrong.any():
                i = int(np.flatnonzero(wrong)[0])
                height, width = sizes[marked.sample[i]]
                others = f" ({int(wrong.sum()):,} such boxes)" * (int(wrong.sum()) > 1)
                raise InputError(
                    f"{marked.where(i)} {what} (the picture has {width}x{height} pixels){others}: "
                    f"{_MEND}"
                )
    elif (outside | gone).any():
        source.progress.say(
            f"{source.cfg.title}: {int((outside & ~gone).sum())} boxes cut at the edges of their "
            f"pictures, {int(gone.sum())} without an area left out"
        )
    return marked.keep(~gone, inner[~gone])


def _in_input(marked: Marked, sizes: Integers, source: Source) -> Marked:
    """Boxes where the steps put them, in pixels of the input; those that are cut away are left
    out."""
    pictures, which = np.unique(sizes, axis=0, return_inverse=True)
    moves = [move_of(source.steps, int(height), int(width)) for height, width in pictures]
    factor = np.array([move.factor for move in moves]).reshape(-1, 2)
    shift = np.array([move.shift for move in moves]).reshape(-1, 2)
    of_box = which.reshape(-1)[marked.sample]
    moved = marked.box * np.tile(factor[of_box], 2) + np.tile(shift[of_box], 2)
    inner, kept = cut(moved, moves[0].size if moves else (1, 1))
    if marked.area is not None:
        before = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
        left = (inner[:, 2:] - inner[:, :2]).prod(axis=1) / np.where(before > 0, before, 1.0)
        marked = replace(marked, area=marked.area * factor[of_box].prod(axis=1) * left)
    return marked.keep(kept, inner[kept])


def _check_declared(marked: Marked, pictures: Decoded) -> None:
    if marked.declared is None:
        return
    wrong = (marked.declared > 0).all(axis=1) & (marked.declared != pictures.sizes).any(axis=1)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        (height, width), (told_height, told_width) = pictures.sizes[i], marked.declared[i]
        raise InputError(
            f"{marked.root / marked.names[i]} has {width}x{height} pixels upright, its annotations "
            f"are for {told_width}x{told_height}: give the picture that they were made for"
        )


def _sides(sizes: Integers) -> Integers:
    """[N, 2] height, width -> [N, 4] width, height, width, height."""
    return sizes[:, [1, 0, 1, 0]]
