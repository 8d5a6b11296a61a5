"""Turns a detector's numbers into boxes: which belong to which candidate, what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.activations import ACTIVATIONS, sigmoid, softmax
from edgeticket.device_runner.task.boxes.settings import (
    Anchors,
    BoxesSettings,
    Centres,
    Direct,
    Part,
)
from edgeticket.device_runner.task.kind import Floats, Integers, Outputs, pick

LARGEST_POWER = 60.0  # of exp: sides stay finite whatever a network gives


@dataclass(frozen=True)
class Grid:
    """For each candidate its anchor, or its cell: centre and sides in pixels of the input, [A].

    ``stride`` is that of its level; 0 for listed anchors.
    """

    x: Floats
    y: Floats
    width: Floats
    height: Floats
    stride: Floats


def rows(outputs: Outputs, part: Part, settings: BoxesSettings) -> npt.NDArray[Any]:
    """The numbers of ``part`` for all candidates: [N, candidates, numbers].

    Raises:
        InputError: an output of another shape.
    """
    taken = []
    for index in part.outputs:
        array = _candidates(pick(outputs, index), settings, index)
        end = part.first + part.count
        if array.shape[2] < end:
            raise InputError(
                f"output {index}, {list(pick(outputs, index).shape)}, has {array.shape[2]} numbers "
                f"for a candidate, {part.first} to {end - 1} are asked for; see layout and per_cell"
            )
        taken.append(array[:, :, part.first : end])
    return taken[0] if len(taken) == 1 else np.concatenate(taken, axis=1)


def _candidates(array: npt.NDArray[Any], settings: BoxesSettings, index: int) -> npt.NDArray[Any]:
    """[N, ...] -> [N, candidates, numbers]."""
    if array.ndim == 2:  # one candidate
        return array[:, np.newaxis]
    if settings.layout == "first" and array.ndim in (3, 4):
        array = np.moveaxis(array, 1, -1)
    numbers = array.shape[-1]
    if array.ndim == 4:
        if numbers % settings.per_cell:
            raise InputError(
                f"output {index} has {numbers} numbers for a cell, which are not those of per_cell "
                f"= {settings.per_cell} candidates; see layout"
            )
        numbers //= settings.per_cell
    elif array.ndim not in (3, 5):
        raise InputError(
            f"output {index} has shape {list(array.shape)}: candidates are [N, candidates, "
            "numbers], or maps of them with 4 or 5 dimensions"
        )
    return array.reshape(len(array), math.prod(array.shape[1:]) // max(numbers, 1), numbers)


def probabilities(outputs: Outputs, settings: BoxesSettings) -> Floats:
    """Outputs -> scores [N, candidates, classes], without that of the background."""
    scores = ACTIVATIONS[settings.activation](rows(outputs, settings.scores, settings))
    if settings.background is not None:
        scores = np.delete(scores, settings.background, axis=2)
    if settings.objectness is not None:
        raw = rows(outputs, settings.objectness, settings)
        if raw.shape[1] != scores.shape[1]:
            raise InputError(
                f"objectness is for {raw.shape[1]} candidates, scores for {scores.shape[1]}"
            )
        scores = scores * (
            raw.astype(np.float64) if settings.activation == "none" else sigmoid(raw)
        )
    return scores


def make_grid(settings: BoxesSettings) -> Grid | None:
    """Where the candidates are; None: their boxes say so themselves."""
    decode = settings.decode
    if isinstance(decode, Direct):
        return None
    if isinstance(decode, Centres):
        levels = [_cells(settings.input, s, decode.offset) for s in decode.strides]
        sides = [np.full(len(level[0]), s) for level, s in zip(levels, decode.strides)]
        x, y = (np.concatenate([level[i] for level in levels]) for i in (0, 1))
        side = np.concatenate(sides)
        return Grid(x, y, side, side, side)
    if decode.listed is not None:
        table = np.asarray(decode.listed, dtype=np.float64).reshape(-1, 4)
        grid = Grid(table[:, 0], table[:, 1], table[:, 2], table[:, 3], np.zeros(len(table)))
    else:
        grid = _anchors(settings, decode)
    if not decode.cut:
        return grid
    height, width = settings.input
    return Grid(
        np.clip(grid.x, 0.0, width),
        np.clip(grid.y, 0.0, height),
        np.clip(grid.width, 0.0, width),
        np.clip(grid.height, 0.0, height),
        grid.stride,
    )


def _cells(size: tuple[int, int], stride: float, offset: float) -> tuple[Floats, Floats]:
    """x and y of the cells' points, row by row."""
    height, width = (math.ceil(side / stride) for side in size)
    x = (np.arange(width, dtype=np.float64) + offset) * stride
    y = (np.arange(height, dtype=np.float64) + offset) * stride
    return np.tile(x, height), np.repeat(y, width)


def _anchors(settings: BoxesSettings, decode: Anchors) -> Grid:
    columns: list[list[Floats]] = [[], [], [], [], []]
    for stride, sizes in zip(decode.strides, decode.sizes):
        x, y = _cells(settings.input, stride, 0.5)
        wide = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
        shape = (len(x), len(wide))
        level = [
            np.broadcast_to(x[:, np.newaxis], shape),
            np.broadcast_to(y[:, np.newaxis], shape),
            np.broadcast_to(wide[:, 0], shape),
            np.broadcast_to(wide[:, 1], shape),
            np.full(shape, stride),
        ]
        for column, values in zip(columns, level):
            column.append((values if decode.order == "cell" else values.T).ravel())
    return Grid(*(np.concatenate(column) for column in columns))


def make_boxes(
    numbers: Floats, where: Integers, grid: Grid | None, settings: BoxesSettings
) -> Floats:
    """Numbers [M, ...] of some candidates, which ones [M] -> boxes [M, 4] xyxy in input pixels."""
    decode = settings.decode
    if isinstance(decode, Direct):
        return _direct(numbers, decode, settings)
    assert grid is not None
    x, y, stride = grid.x[where], grid.y[where], grid.stride[where]
    width, height = grid.width[where], grid.height[where]
    if isinstance(decode, Centres):
        if decode.coding == "cell":
            # A centre is a point of its cell: the cell itself begins `offset` before it.
            left, top = x - decode.offset * stride, y - decode.offset * stride
            return np.stack([left, top, left + stride, top + stride], axis=1)
        if decode.coding == "yolox":
            centre_x, centre_y = x + numbers[:, 0] * stride, y + numbers[:, 1] * stride
            return _around(centre_x, centre_y, _exp(numbers[:, 2:4]) * stride[:, np.newaxis])
        unit = stride if decode.unit == "stride" else np.ones(len(stride))
        if decode.coding == "size":
            centre_x, centre_y = x + numbers[:, 0] * stride, y + numbers[:, 1] * stride
            return _around(centre_x, centre_y, numbers[:, 2:4] * unit[:, np.newaxis])
        away = _distances(numbers, decode.bins) * unit[:, np.newaxis]
        return np.stack([x - away[:, 0], y - away[:, 1], x + away[:, 2], y + away[:, 3]], axis=1)
    sides = np.stack([width, height], axis=1)
    if decode.coding.startswith("yolo"):
        t = sigmoid(numbers)
        # From the cell's corner, which is half a cell before its middle.
        if decode.coding == "yolov3":
            shift, sides = t[:, :2] - 0.5, sides * _exp(numbers[:, 2:4])
        else:
            shift, sides = 2.0 * t[:, :2] - 1.0, sides * (2.0 * t[:, 2:4]) ** 2
        return _around(x + shift[:, 0] * stride, y + shift[:, 1] * stride, sides)
    t = numbers * np.asarray(decode.variances)
    if decode.coding == "corners":
        moved = t * np.concatenate([sides, sides], axis=1)
        return np.asarray(_around(x, y, sides) + moved)
    moved = t[:, :2] * sides
    sides = sides * (_exp(t[:, 2:4]) if decode.coding == "ssd" else t[:, 2:4])
    return _around(x + moved[:, 0], y + moved[:, 1], sides)


def _direct(numbers: Floats, decode: Direct, settings: BoxesSettings) -> Floats:
    if decode.normalized:
        height, width = settings.input
        numbers = numbers * np.array([width, height, width, height], dtype=np.float64)
    if decode.form == "xyxy":
        return numbers
    if decode.form == "xywh":
        return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    return _around(numbers[:, 0], numbers[:, 1], numbers[:, 2:])


def _distances(numbers: Floats, bins: int) -> Floats:
    """[M, 4 bins] -> [M, 4]: Li et al. 2020, generalized focal loss."""
    if bins == 0:
        return numbers
    weights = softmax(numbers.reshape(len(numbers), 4, bins))
    means: Floats = (weights * np.arange(bins)).sum(axis=2)
    return means


def _around(x: Floats, y: Floats, sides: Floats) -> Floats:
    half = sides / 2.0
    return np.stack([x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]], axis=1)


def _exp(values: Floats) -> Floats:
    raised: Floats = np.exp(np.minimum(values, LARGEST_POWER))
    return raised


def numbers_per_box(settings: BoxesSettings) -> int:
    """How many numbers of a candidate say where its box is."""
    decode = settings.decode
    if isinstance(decode, Centres):
        if decode.coding == "cell":
            return 0
        if decode.coding == "ltrb" and decode.bins:
            return 4 * decode.bins
    return 4
