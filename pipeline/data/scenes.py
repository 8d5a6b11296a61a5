"""Scenes: handwritten digits of any size on a canvas, with what is where.

Each digit is drawn once, in one scene. So scenes that are split in any way share no digit. All
numbers are whole and come from a generator whose stream never changes, so that scenes are the same
bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.pictures import resize

INK_FROM = 64  # pixels of digits are this or brighter, all others are darker
_DRAWN_FROM = 96  # of 0..255: paler parts of a digit are left out
_DARKEST = 160  # contrast of a digit, in 1/256
_CORNERS, _NOISE = 41, 16  # background: values of a coarse grid, and what is added to each pixel
_GRID = 4
_TRIES = 60

# How many digits a scene gets: as often as the number is listed. One in 20 stays empty.
_COUNTS = (0, *[1] * 4, *[2] * 6, *[3] * 5, *[4] * 4)

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures, and a row for each digit in them.

    Attributes:
        pictures: uint8 [N, side, side].
        owner: int64 [N, side, side], 1 + the row of the digit that drew a pixel; 0: background.
        sample: int64 [rows], the picture that a digit is in, rising.
        box: float32 [rows, 4], x1, y1, x2, y2 around its pixels; the second corner is outside.
        source: int64 [rows], the index of the digit.
    """

    pictures: Pixels
    owner: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    box: npt.NDArray[np.float32]
    source: npt.NDArray[np.int64]


class Dice:
    """Whole numbers from Philox4x64-10, whose raw words numpy keeps for ever."""

    def __init__(self, seed: int) -> None:
        self.bits = np.random.Philox(key=np.array([seed, 0], np.uint64))

    def below(self, limit: int) -> int:
        """0 to ``limit`` − 1; the share of each is the same to 2^−32 · ``limit``."""
        return (self.bits.random_raw() >> 32) * limit >> 32

    def between(self, low: int, high: int) -> int:
        """``low`` to ``high``, both of them."""
        return low + self.below(high - low + 1)

    def many(self, limit: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """An array of numbers from 0 to ``limit`` − 1."""
        raw = self.bits.random_raw(int(np.prod(shape))) >> np.uint64(32)
        scaled: npt.NDArray[np.int64] = (raw * np.uint64(limit) >> np.uint64(32)).astype(np.int64)
        return scaled.reshape(shape)

    def order(self, count: int) -> npt.NDArray[np.int64]:
        """0 to ``count`` − 1 in random order."""
        return np.argsort(self.bits.random_raw(count), kind="stable")


def draw_scenes(digits: Pixels, *, side: int, heights: tuple[int, int], seed: int) -> Scenes:
    """Draw every digit once.

    Args:
        digits: uint8 [N, H, W], bright on black.
        side: of the pictures, in pixels.
        heights: the least and the greatest that digits are scaled to, in pixels.
        seed: decides all of it.
    """
    dice = Dice(seed)
    waiting = dice.order(len(digits)).tolist()
    pictures: list[Pixels] = []
    owners: list[npt.NDArray[np.int64]] = []
    rows: list[tuple[int, Box, int]] = []
    while waiting:
        count = min(_COUNTS[dice.below(len(_COUNTS))], len(waiting))
        picture = np.zeros((side, side), np.uint8)
        owner = np.zeros((side, side), np.int64)
        boxes: list[Box] = []
        for _ in range(count):
            source = waiting.pop(0)
            ink = _scaled(digits[source], heights, side, dice)
            place = _free_place(ink.shape, boxes, side, dice)
            if place is None:  # it waits for the next scene
                waiting.insert(0, source)
                break
            boxes.append(place)
            x1, y1, x2, y2 = place
            picture[y1:y2, x1:x2] = ink
            owner[y1:y2, x1:x2] = np.where(ink > 0, len(rows) + 1, 0)
            rows.append((len(pictures), place, source))
        pictures.append(picture)
        owners.append(owner)
    drawn, owner = np.stack(pictures), np.stack(owners)
    return Scenes(
        np.where(owner > 0, drawn, _backgrounds(len(drawn), side, dice)),
        owner,
        np.array([sample for sample, _, _ in rows], np.int64),
        np.array([box for _, box, _ in rows], np.float32),
        np.array([source for _, _, source in rows], np.int64),
    )


def _backgrounds(count: int, side: int, dice: Dice) -> Pixels:
    """Soft light and noise, darker than any ink: uint8 [count, side, side]."""
    coarse = dice.many(_CORNERS, (count, _GRID, _GRID, 1)).astype(np.uint8)
    soft = resize(coarse, {"size": [side, side], "filter": "bilinear"})[:, :, :, 0]
    return soft + dice.many(_NOISE, (count, side, side)).astype(np.uint8)


def _scaled(digit: Pixels, heights: tuple[int, int], side: int, dice: Dice) -> Pixels:
    """A digit of another height and contrast, cut at its ink; 0 is where nothing is drawn."""
    digit = cut_out(digit, digit > 0)
    height = dice.between(*heights)
    width = min(
        side, max(1, (digit.shape[1] * height * 2 + digit.shape[0]) // (2 * digit.shape[0]))
    )
    step: dict[str, Any] = {"size": [height, width], "filter": "bilinear"}
    larger = resize(digit[np.newaxis, :, :, np.newaxis], step)[0, :, :, 0]
    contrast = dice.between(_DARKEST, 256)
    pale = np.maximum(larger.astype(np.int64) * contrast >> 8, INK_FROM)
    ink = np.where(larger >= _DRAWN_FROM, pale, 0).astype(np.uint8)
    return cut_out(ink, ink > 0)


def cut_out(picture: Pixels, inside: npt.NDArray[np.bool_]) -> Pixels:
    """The smallest part of [H, W] that has all that is ``inside``."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(shape: tuple[int, ...], boxes: Sequence[Box], side: int, dice: Dice) -> Box | None:
    """Where something of (height, width) overlaps none of ``boxes``; None: no place was met."""
    height, width = shape
    for _ in range(_TRIES):
        x1, y1 = dice.below(side - width + 1), dice.below(side - height + 1)
        box = (x1, y1, x1 + width, y1 + height)
        if all(_apart(box, other) for other in boxes):
            return box
    return None


def _apart(a: Box, b: Box) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
