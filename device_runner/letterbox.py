"""Letterbox: a picture as large as fits, the rest filled, and boxes there and back.

Where the picture lies is decided in fractions of whole numbers, and pixels are those of
`device_runner.pictures.resize`, so the bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.pictures import LARGEST_SIDE, Pictures, resize

PLACES = ("centre", "corner")
FILL = 114  # what YOLO networks are trained with


@dataclass(frozen=True)
class Fit:
    """Where a picture of ``height`` x ``width`` lies in one of ``size`` [H, W], in pixels."""

    height: int
    width: int
    size: tuple[int, int]
    top: int
    left: int
    inner_height: int
    inner_width: int

    def boxes_in(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Boxes [M, 4] (x1, y1, x2, y2) of the picture -> where they are in the letterbox."""
        factor, shift = self._factor(), self._shift()
        moved: npt.NDArray[np.float64] = boxes.astype(np.float64) * factor + shift
        return moved

    def boxes_out(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Boxes [M, 4] (x1, y1, x2, y2) of the letterbox -> where they are in the picture."""
        factor, shift = self._factor(), self._shift()
        moved: npt.NDArray[np.float64] = (boxes.astype(np.float64) - shift) / factor
        return moved

    def _factor(self) -> npt.NDArray[np.float64]:
        x, y = self.inner_width / self.width, self.inner_height / self.height
        return np.array([x, y, x, y])

    def _shift(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top, self.left, self.top], dtype=np.float64)


def fit(height: int, width: int, size: tuple[int, int], *, place: str = "centre") -> Fit:
    """Where a picture lies in a letterbox of ``size`` [H, W].

    It grows or shrinks by the smaller of both ratios; sides are rounded half to even, and have a
    pixel at least. An odd row or column of filling lies at the bottom or right.

    Raises:
        InputError: a side that is not from 1 to 16384, or another place than `PLACES`.
    """
    sides = (height, width, *size)
    if min(sides) < 1 or max(sides) > LARGEST_SIDE:
        raise InputError(
            f"letterbox: {width}x{height} pixels into {size[1]}x{size[0]}: sides are from 1 to "
            f"{LARGEST_SIDE}"
        )
    if place not in PLACES:
        raise InputError(f"letterbox: place is {place!r}, allowed: {', '.join(PLACES)}")
    ratio = min(Fraction(size[0], height), Fraction(size[1], width))
    inner_height, inner_width = max(1, round(ratio * height)), max(1, round(ratio * width))
    top, left = (size[0] - inner_height) // 2, (size[1] - inner_width) // 2
    if place == "corner":
        top = left = 0
    return Fit(height, width, (size[0], size[1]), top, left, inner_height, inner_width)


def stretch(height: int, width: int, size: tuple[int, int]) -> Fit:
    """The same for a picture that fills ``size`` [H, W], whatever its sides."""
    return Fit(height, width, (size[0], size[1]), 0, 0, size[0], size[1])


def letterbox(pictures: Pictures, step: Mapping[str, Any]) -> Pictures:
    """uint8 [N, H, W, C] -> the same within ``size`` [H, W]; a step of `picture_steps`.

    ``step``: ``size``; ``filter`` as `resize` has it; ``place``, `PLACES`; ``fill``, a number from
    0 to 255, or one for each channel. The last two may be missing: centre, 114.

    Raises:
        InputError: a size, place, or filling that cannot be.
    """
    height, width, channels = pictures.shape[1:]
    size = (int(step["size"][0]), int(step["size"][1]))
    where = fit(height, width, size, place=step.get("place", "centre"))
    fill = np.asarray(step.get("fill", FILL))
    whole = fill.dtype.kind in "iu" and fill.shape in ((), (1,), (channels,))
    if not whole or fill.min() < 0 or fill.max() > 255:
        raise InputError(
            f"letterbox: fill is {step['fill']!r}, allowed: a whole number from 0 to 255, or "
            f"{channels} of them, one for each channel"
        )
    inner = resize(
        pictures,
        {"size": [where.inner_height, where.inner_width], "filter": step.get("filter", "bilinear")},
    )
    boxed = np.empty((len(pictures), *size, channels), dtype=np.uint8)
    boxed[:] = fill.astype(np.uint8)
    bottom, right = where.top + where.inner_height, where.left + where.inner_width
    boxed[:, where.top : bottom, where.left : right] = inner
    return boxed
