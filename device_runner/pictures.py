"""Pictures to the size that a network takes: whole numbers only, the same bytes everywhere.

`resize` is Pillow's (and so torchvision's on pictures): each side by itself, columns first, with a
filter that widens when a picture shrinks, and weights in units of 2^-22. Pillow 13 takes rows first
where a picture loses more than twice as many rows as columns; here the order is always the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

Pictures = npt.NDArray[np.uint8]

LARGEST_SIDE = 16384  # of what a step makes
_BITS = 22  # of a weight: 255 times a sum of weights then fits 31 bits
_GREY = (19595, 38470, 7471)  # ITU-R BT.601 luma, in units of 2^-16


def grey(pictures: Pictures, step: Mapping[str, Any]) -> Pictures:
    """uint8 [N, H, W, 3] -> [N, H, W, 1], ITU-R BT.601 luma; one channel stays as it is."""
    if pictures.shape[-1] == 1:
        return pictures
    if pictures.shape[-1] != 3:
        raise InputError(f"preprocessing: grey takes 1 or 3 channels, not {pictures.shape[-1]}")
    weighted = pictures.astype(np.uint32) * np.array(_GREY, dtype=np.uint32)
    luma: Pictures = ((weighted.sum(-1, keepdims=True) + 0x8000) >> 16).astype(np.uint8)
    return luma


def resize(pictures: Pictures, step: Mapping[str, Any]) -> Pictures:
    """uint8 [N, H, W, C] -> the same with a shorter side of ``shorter``, or of ``size`` [H, W]."""
    height, width = pictures.shape[1:3]
    new_height, new_width = resized(height, width, step)
    if max(new_height, new_width) > LARGEST_SIDE:
        raise InputError(
            f"preprocessing: {width}x{height} pixels would become {new_width}x{new_height}: "
            f"no side may be longer than {LARGEST_SIDE}; cut the picture first"
        )
    kernel = FILTERS[step["filter"]]
    return _stretch(_stretch(pictures, 2, new_width, *kernel), 1, new_height, *kernel)


def center_crop(pictures: Pictures, step: Mapping[str, Any]) -> Pictures:
    """uint8 [N, H, W, C] -> the middle ``size`` [H, W] of each."""
    height, width = step["size"]
    if pictures.shape[1] < height or pictures.shape[2] < width:
        raise InputError(
            f"preprocessing: {pictures.shape[2]}x{pictures.shape[1]} pixels are too few to cut "
            f"{width}x{height} out; resize first"
        )
    top, left = cropped(pictures.shape[1], pictures.shape[2], step)
    return pictures[:, top : top + height, left : left + width]


def resized(height: int, width: int, step: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of what `resize` makes of a picture."""
    if "size" in step:
        return int(step["size"][0]), int(step["size"][1])
    shorter = step["shorter"]
    scaled = shorter * max(height, width) // min(height, width)
    return (scaled, shorter) if height > width else (shorter, scaled)


def cropped(height: int, width: int, step: Mapping[str, Any]) -> tuple[int, int]:
    """The first row and column that `center_crop` keeps of a picture."""
    # Python's round, half to even, as torchvision has it.
    return round((height - step["size"][0]) / 2), round((width - step["size"][1]) / 2)


def _stretch(
    pictures: Pictures, axis: int, size: int, kernel: Callable[[Any], Any], reach: float
) -> Pictures:
    """Make ``axis`` of uint8 [N, H, W, C] ``size`` long."""
    old = pictures.shape[axis]
    if old == size:
        return pictures
    first, weights = _weights(old, size, kernel, reach)
    lines = np.ascontiguousarray(np.moveaxis(pictures, axis, 0)).reshape(old, -1).astype(np.int32)
    total = np.full((size, lines.shape[1]), 1 << (_BITS - 1), dtype=np.int32)
    part = np.empty_like(total)
    for tap in range(weights.shape[1]):
        # Beyond the edge weights are 0, whatever pixel they meet.
        np.take(lines, np.minimum(first + tap, old - 1), axis=0, out=part, mode="clip")
        part *= weights[:, tap, np.newaxis]
        total += part
    total >>= _BITS
    np.clip(total, 0, 255, out=total)
    rest = [n for i, n in enumerate(pictures.shape) if i != axis]
    stretched: Pictures = np.moveaxis(total.astype(np.uint8).reshape(size, *rest), 0, axis)
    return stretched


@functools.lru_cache(maxsize=512)  # a few kB each; nobody writes to them
def _weights(
    old: int, new: int, kernel: Callable[[Any], Any], reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """For each new pixel the first old one that counts, and int32 weights [new, taps]."""
    scale = old / new
    widened = max(scale, 1.0)
    support = reach * widened
    centre = (np.arange(new) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    behind = np.minimum((centre + support + 0.5).astype(np.int64), old)
    taps = math.ceil(support) * 2 + 1
    at = first[:, np.newaxis] + np.arange(taps)
    raw = kernel((at - centre[:, np.newaxis] + 0.5) * (1.0 / widened))
    raw[at >= behind[:, np.newaxis]] = 0.0
    total = np.zeros(new)
    for tap in range(taps):  # in this order, because float sums depend on it
        total += raw[:, tap]
    shares = raw / total[:, np.newaxis] * (1 << _BITS)
    return first, np.trunc(shares + np.where(shares < 0, -0.5, 0.5)).astype(np.int32)


def _triangle(x: Any) -> Any:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: Any) -> Any:
    """Keys 1981, a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


# By name: the weight of a pixel by its distance, and the distance from which on it is 0.
FILTERS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
