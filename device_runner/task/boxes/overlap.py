"""How much boxes overlap, and which of many boxes of one thing is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.task.kind import Flags, Floats, Integers


def iou(boxes: npt.NDArray[Any], others: npt.NDArray[Any], crowd: Flags | None = None) -> Floats:
    """Boxes [M, 4] and [K, 4] (x1, y1, x2, y2) -> intersection over union, [M, K].

    With ``crowd`` [K]: intersection over the first box alone for those. Boxes without area
    overlap nothing. The order of operations is that of pycocotools.
    """
    a, b = boxes.astype(np.float64), others.astype(np.float64)
    # As x, y, width, height, which is how COCO's files have boxes.
    a_side, b_side = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    a_end, b_end = a[:, :2] + a_side, b[:, :2] + b_side
    start = np.maximum(a[:, np.newaxis, :2], b[np.newaxis, :, :2])
    sides = np.minimum(a_end[:, np.newaxis], b_end[np.newaxis]) - start
    inside = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    a_area, b_area = a_side[:, 0] * a_side[:, 1], b_side[:, 0] * b_side[:, 1]
    whole = a_area[:, np.newaxis] + b_area - inside
    if crowd is not None:
        whole = np.where(crowd, a_area[:, np.newaxis], whole)
    return np.divide(inside, whole, out=np.zeros_like(inside), where=inside > 0)


def suppress(
    boxes: Floats, labels: Integers, *, limit_iou: float, across_classes: bool, limit: int
) -> Integers:
    """Boxes, best first -> which are kept: those that overlap no kept one by more than the limit.

    Greedy non-maximum suppression. At most ``limit`` are kept, so that the work is bounded by
    ``limit`` times the number of boxes.
    """
    alive = np.ones(len(boxes), dtype=np.bool_)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == limit:
            break
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        if not across_classes:
            rest = rest[labels[rest] == labels[i]]
        alive[rest[iou(boxes[i : i + 1], boxes[rest])[0] > limit_iou]] = False
    return np.asarray(kept, dtype=np.int64)
