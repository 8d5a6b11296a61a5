"""Where boxes, points and masks go when a picture goes through `capture`: as its pixels do.

Places are counted from the left and upper edge of a picture, so that the middle of its first pixel
is (0.5, 0.5); sizes and corners are those of `device_runner.pictures` and its letterbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner import letterbox
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.pictures import cropped, resized
from edgeticket.device_runner.task import get_task
from edgeticket.pipeline.data.targets import Targets

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Steps = Sequence[Mapping[str, Any]]

KEPT_SHARE = 0.2  # of a box's area: what is left of it at an edge is no longer the thing itself
LEAST_SIDE = 1.0  # pixels


@dataclass(frozen=True)
class Move:
    """x, y of a picture -> factor * x + shift, in one of ``size`` [H, W]."""

    size: tuple[int, int]
    factor: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def points(self, points: Array) -> Floats:
        """Places [..., 2] (x, y) of the picture -> where they are."""
        moved: Floats = points.astype(np.float64) * self.factor + self.shift
        return moved

    def boxes(self, boxes: Array) -> Floats:
        """Boxes [M, 4] (x1, y1, x2, y2) of the picture -> where they are, uncut."""
        return self.points(boxes.reshape(-1, 2, 2)).reshape(-1, 4)

    def then(
        self, size: tuple[int, int], factor: tuple[float, float], shift: tuple[float, float]
    ) -> Move:
        """This, and another behind it."""
        return Move(
            size,
            (self.factor[0] * factor[0], self.factor[1] * factor[1]),
            (self.shift[0] * factor[0] + shift[0], self.shift[1] * factor[1] + shift[1]),
        )


def move_of(steps: Steps, height: int, width: int) -> Move:
    """Where ``steps`` of `device_runner.preprocess.capture` put the places of a picture."""
    move = Move((height, width))
    for step in steps:
        move = MOVES[step["op"]](move, step)
    return move


def move_mask(mask: Array, steps: Steps, *, fill: int) -> Array:
    """A mask [H, W] -> what it is of the picture behind ``steps``: nearest pixels, so no class is
    mixed; ``fill`` where the picture is not."""
    for step in steps:
        height, width = mask.shape
        if step["op"] == "resize":
            mask = nearest(mask, resized(height, width, step))
        elif step["op"] == "center_crop":
            (top, left), (rows, columns) = cropped(height, width, step), step["size"]
            mask = mask[top : top + rows, left : left + columns]
        elif step["op"] == "letterbox":
            where = _fit(height, width, step)
            boxed = np.full(where.size, fill, mask.dtype)
            bottom, right = where.top + where.inner_height, where.left + where.inner_width
            boxed[where.top : bottom, where.left : right] = nearest(
                mask, (where.inner_height, where.inner_width)
            )
            mask = boxed
    return np.ascontiguousarray(mask)


def nearest(mask: Array, size: tuple[int, int]) -> Array:
    """[H, W] -> ``size``; each pixel is the one in which its middle lies, in whole numbers."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for old, new in zip(mask.shape, size, strict=True)
    )
    return np.asarray(mask[rows[:, np.newaxis], columns])


def cut(boxes: Floats, size: tuple[int, int]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Boxes at the edges of a picture of ``size`` [H, W] -> as far as they lie in it, and which
    have enough in it to be kept."""
    high = np.array([size[1], size[0]] * 2, dtype=np.float64)
    inner: Floats = np.clip(boxes, 0.0, high)
    whole, left = boxes[:, 2:] - boxes[:, :2], inner[:, 2:] - inner[:, :2]
    kept = (left >= np.minimum(LEAST_SIDE, whole)).all(axis=1) & (
        left.prod(axis=1) >= KEPT_SHARE * whole.prod(axis=1)
    )
    return inner, kept & (left > 0).all(axis=1)


def in_input(boxes: Array, sample: Array, sizes: Array | None, settings: Any) -> Floats:
    """Right boxes [M, 4] of the task `boxes`, in pixels of the network's input.

    Args:
        boxes: in pixels of what `settings.picture` says.
        sample: the example of each, [M].
        sizes: height and width of each example's picture, [N, 2]; None with `picture: input`.
        settings: of the task, `BoxesSettings`.
    """
    if settings.picture == "input":
        return boxes.astype(np.float64)
    assert sizes is not None
    pictures, which = np.unique(sizes, axis=0, return_inverse=True)
    fits = [_input_fit(int(height), int(width), settings) for height, width in pictures]
    factor = np.array([[f.inner_width / f.width, f.inner_height / f.height] for f in fits])
    shift = np.array([[f.left, f.top] for f in fits], dtype=np.float64)
    of_box = which.reshape(-1)[sample]
    moved: Floats = boxes.astype(np.float64) * np.tile(factor[of_box], 2)
    return moved + np.tile(shift[of_box], 2)


def _input_fit(height: int, width: int, settings: Any) -> letterbox.Fit:
    if settings.picture == "stretched":
        return letterbox.stretch(height, width, settings.input)
    place = settings.picture.removeprefix("letterbox_")
    return letterbox.fit(height, width, settings.input, place=place)


def boxes_in_input(targets: Targets) -> Targets:
    """Targets with boxes in pixels of the network's input, as training wants them; others stay."""
    if targets.task.name != "boxes" or targets.task.settings.get("picture", "input") == "input":
        return targets
    arrays = dict(targets.arrays)
    settings = get_task("boxes").settings.from_json(dict(targets.task.settings))
    moved = in_input(arrays["box"], arrays["sample"], arrays.pop("size"), settings)
    arrays["box"] = moved.astype(np.float32)
    task = Task("boxes", {**targets.task.settings, "picture": "input"})
    return replace(targets, task=task, arrays=arrays)


def picture_of(steps: Steps) -> str | None:
    """What `boxes.picture` has to be so that boxes stay in pixels of the picture itself; None: no
    setting says it, they have to be moved into pixels of the input."""
    moving = [step for step in steps if step["op"] != "grey"]
    if not moving:
        return "input"
    if len(moving) > 1:
        return None
    if moving[0]["op"] == "resize" and "size" in moving[0]:
        return "stretched"
    if moving[0]["op"] == "letterbox":
        return f"letterbox_{moving[0].get('place', 'centre')}"
    return None


def _resize(move: Move, step: Mapping[str, Any]) -> Move:
    height, width = move.size
    size = resized(height, width, step)
    return move.then(size, (size[1] / width, size[0] / height), (0.0, 0.0))


def _crop(move: Move, step: Mapping[str, Any]) -> Move:
    top, left = cropped(*move.size, step)
    return move.then((step["size"][0], step["size"][1]), (1.0, 1.0), (float(-left), float(-top)))


def _letterbox(move: Move, step: Mapping[str, Any]) -> Move:
    where = _fit(*move.size, step)
    factor = where.inner_width / where.width, where.inner_height / where.height
    return move.then(where.size, factor, (float(where.left), float(where.top)))


def _fit(height: int, width: int, step: Mapping[str, Any]) -> letterbox.Fit:
    size = (int(step["size"][0]), int(step["size"][1]))
    return letterbox.fit(height, width, size, place=step.get("place", "centre"))


MOVES = {
    "grey": lambda move, step: move,
    "resize": _resize,
    "center_crop": _crop,
    "letterbox": _letterbox,
}
