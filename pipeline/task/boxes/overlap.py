"""Overlaps of boxes in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def iou_of_all(a: Tensor, b: Tensor) -> Tensor:
    """Boxes xyxy [M, 4] and [K, 4] -> intersection over union of each with each, [M, K]."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    union = area(a)[:, None] + area(b)[None] - both
    return both / union.clamp(min=1e-9)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes one by one, [M] each, from -1 to 1.

    Rezatofighi et al., 2019: less the share of the box around both that neither fills.
    """
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    union = (area(a) + area(b) - both).clamp(min=1e-9)
    corner, end = torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])
    around = (end - corner).clamp(min=0).prod(1).clamp(min=1e-9)
    return both / union - (around - union) / around


def area(boxes: Tensor) -> Tensor:
    """Of boxes xyxy, 0 of those turned inside out."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
