"""A detector's numbers in torch: which belong to which candidate, and the boxes that they mean.

The same as `device_runner.task.boxes.decode`, with gradients; and the way back, from boxes to the
numbers that a network should give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.task.boxes.decode import LARGEST_POWER, make_grid
from edgeticket.device_runner.task.boxes.settings import (
    BoxesSettings,
    Centres,
    Direct,
    Part,
)

LEAST_SIDE = 1e-3  # pixels: logarithms of sides are finite


@dataclass(frozen=True)
class Places:
    """For each candidate its anchor, or its cell: centre and sides in pixels of the input, [A, 4],
    and the stride of its level, [A], 0 for listed anchors."""

    boxes: Tensor
    stride: Tensor

    def to(self, device: torch.device) -> Places:
        return Places(self.boxes.to(device), self.stride.to(device))


def places_of(settings: BoxesSettings) -> Places | None:
    """Where the candidates are; None: their boxes say so themselves."""
    grid = make_grid(settings)
    if grid is None:
        return None
    columns = [torch.from_numpy(c.copy()) for c in (grid.x, grid.y, grid.width, grid.height)]
    return Places(torch.stack(columns, 1).float(), torch.from_numpy(grid.stride.copy()).float())


def rows(outputs: Sequence[Tensor], part: Part, settings: BoxesSettings) -> Tensor:
    """The numbers of ``part`` for all candidates: float32 [N, candidates, numbers]."""
    taken = []
    for index in part.outputs:
        array = outputs[index].float()
        if array.ndim == 2:
            array = array[:, None]
        elif settings.layout == "first" and array.ndim in (3, 4):
            array = array.movedim(1, -1)
        numbers = array.shape[-1] // (settings.per_cell if array.ndim == 4 else 1)
        array = array.reshape(len(array), -1, numbers)
        taken.append(array[:, :, part.first : part.first + part.count])
    return torch.cat(taken, 1)


def decode(numbers: Tensor, places: Places, settings: BoxesSettings) -> Tensor:
    """Numbers [M, ...] of candidates at ``places`` [M] -> boxes xyxy [M, 4] in input pixels."""
    x, y = places.boxes[:, 0], places.boxes[:, 1]
    stride, decoding = places.stride, settings.decode
    assert not isinstance(decoding, Direct)
    if isinstance(decoding, Centres):
        if decoding.coding == "cell":
            left, top = x - decoding.offset * stride, y - decoding.offset * stride
            return torch.stack([left, top, left + stride, top + stride], 1)
        unit = stride if decoding.unit == "stride" else torch.ones_like(stride)
        if decoding.coding == "ltrb":
            away = distances(numbers, decoding.bins) * unit[:, None]
            return torch.stack([x - away[:, 0], y - away[:, 1], x + away[:, 2], y + away[:, 3]], 1)
        middle = torch.stack([x + numbers[:, 0] * stride, y + numbers[:, 1] * stride], 1)
        if decoding.coding == "yolox":
            return around(middle, _exp(numbers[:, 2:4]) * stride[:, None])
        return around(middle, numbers[:, 2:4] * unit[:, None])
    centre, sides = places.boxes[:, :2], places.boxes[:, 2:]
    if decoding.coding.startswith("yolo"):
        t = numbers.sigmoid()
        if decoding.coding == "yolov3":
            return around(
                centre + (t[:, :2] - 0.5) * stride[:, None], sides * _exp(numbers[:, 2:4])
            )
        return around(centre + (2 * t[:, :2] - 1) * stride[:, None], sides * (2 * t[:, 2:4]) ** 2)
    t = numbers * numbers.new_tensor(decoding.variances)
    if decoding.coding == "corners":
        return around(centre, sides) + t * torch.cat([sides, sides], 1)
    scaled = _exp(t[:, 2:4]) if decoding.coding == "ssd" else t[:, 2:4]
    return around(centre + t[:, :2] * sides, sides * scaled)


def encode(boxes: Tensor, places: Places, settings: BoxesSettings) -> Tensor:
    """Boxes xyxy [M, 4] in input pixels -> what candidates at ``places`` [M] should give for them.

    The inverse of `decode`, as far as a coding reaches: sigmoids do not leave their cell. Of
    distances in bins the distances themselves, in bins.
    """
    stride, decoding = places.stride[:, None], settings.decode
    assert not isinstance(decoding, Direct)
    centre, sides = places.boxes[:, :2], places.boxes[:, 2:]
    wanted = (boxes[:, :2] + boxes[:, 2:]) / 2
    wide = (boxes[:, 2:] - boxes[:, :2]).clamp(min=LEAST_SIDE)
    if isinstance(decoding, Centres):
        unit = stride if decoding.unit == "stride" else torch.ones_like(stride)
        if decoding.coding == "ltrb":
            return torch.cat([centre - boxes[:, :2], boxes[:, 2:] - centre], 1) / unit
        shift = (wanted - centre) / stride
        if decoding.coding == "yolox":
            return torch.cat([shift, torch.log(wide / stride)], 1)
        return torch.cat([shift, wide / unit], 1)
    if decoding.coding == "yolov3":
        return torch.cat([_logit((wanted - centre) / stride + 0.5), torch.log(wide / sides)], 1)
    if decoding.coding == "yolov5":
        moved = _logit(((wanted - centre) / stride + 1) / 2)
        return torch.cat([moved, _logit((wide / sides).sqrt() / 2)], 1)
    variances = boxes.new_tensor(decoding.variances)
    if decoding.coding == "corners":
        return (boxes - around(centre, sides)) / torch.cat([sides, sides], 1) / variances
    share = wide / sides
    grown = torch.log(share) if decoding.coding == "ssd" else share
    return torch.cat([(wanted - centre) / sides, grown], 1) / variances


def distances(numbers: Tensor, bins: int) -> Tensor:
    """[M, 4 bins] -> [M, 4]: the mean bin by the softmax of each side's numbers."""
    if bins == 0:
        return numbers
    weights = numbers.reshape(len(numbers), 4, bins).softmax(2)
    return (weights * torch.arange(bins, device=numbers.device)).sum(2)


def bin_loss(numbers: Tensor, wanted: Tensor, bins: int) -> Tensor:
    """Distances in bins [M, 4] -> cross-entropy with the two bins beside them, [M].

    Distribution focal loss: Li et al., "Generalized Focal Loss", 2020.
    """
    aim = wanted.clamp(0, bins - 1 - 1e-3)
    low = aim.floor().long()
    share = aim - low
    flat = numbers.reshape(-1, bins)
    below = F.cross_entropy(flat, low.reshape(-1), reduction="none").reshape(aim.shape)
    above = F.cross_entropy(flat, low.reshape(-1) + 1, reduction="none").reshape(aim.shape)
    return (below * (1 - share) + above * share).mean(1)


def around(centre: Tensor, sides: Tensor) -> Tensor:
    """Centres [M, 2] and sides [M, 2] -> xyxy."""
    return torch.cat([centre - sides / 2, centre + sides / 2], 1)


def _exp(values: Tensor) -> Tensor:
    return torch.exp(values.clamp(max=LARGEST_POWER))


def _logit(share: Tensor) -> Tensor:
    return torch.logit(share, eps=1e-4)


def level_of(sides: Tensor, strides: Tensor) -> Tensor:
    """Boxes' longer sides [M] -> the stride that sees each best, [M]: some four cells across.

    Lin et al., "Feature Pyramid Networks", 2017, put a box of 224 pixels at stride 16 or 32.
    """
    wanted = (sides / 4).clamp(min=1e-6)
    apart = (torch.log2(wanted)[:, None] - torch.log2(strides)[None]).abs()
    return strides[apart.argmin(1)]
