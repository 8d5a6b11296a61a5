"""Which candidates of a detector should find which box."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeticket.device_runner.task.boxes.settings import Anchors, BoxesSettings, Centres
from edgeticket.pipeline.task.boxes.candidates import Places, around, level_of
from edgeticket.pipeline.task.boxes.overlap import area, iou_of_all

NOTHING, IGNORED = -1, -2  # what a candidate has instead of the number of a box
RADIUS = 1.5  # cells around a box's middle that should find it, as in FCOS
POSITIVE, NEGATIVE = 0.5, 0.4  # overlaps of anchors, as in SSD and RetinaNet
REACH = {"yolov3": 0.5, "yolov5": 0.95}  # cells that a coding can move a centre
GROWTH = 3.9  # times an anchor's side that yolov5 reaches


def assign(places: Places, boxes: Tensor, ignored: Tensor, settings: BoxesSettings) -> Tensor:
    """Boxes xyxy [K, 4] of one picture, in input pixels -> for each candidate [A] its box.

    Every box is found by one candidate at least, if there are as many. ``ignored`` [K] marks boxes
    around many things: candidates within them are neither right nor wrong.
    """
    matched = torch.full((len(places.stride),), NOTHING, device=boxes.device)
    if len(boxes) == 0:
        return matched
    if isinstance(settings.decode, Centres):
        owners = _around_centres(places, boxes, settings.decode)
    else:
        assert isinstance(settings.decode, Anchors)
        owners = _by_overlap(places, boxes, settings.decode)
    within = (owners >= 0) & ignored[owners.clamp(min=0)]
    return owners.masked_fill(within, IGNORED)


def _around_centres(places: Places, boxes: Tensor, decode: Centres) -> Tensor:
    """Cells near the middle of a box, at the level for its size; the smallest box counts.

    Tian et al., "FCOS", 2019, with centre sampling.
    """
    x, y = places.boxes[:, 0, None], places.boxes[:, 1, None]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = torch.maximum((x - middle[:, 0]).abs(), (y - middle[:, 1]).abs())  # [A, K]
    sides = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    levels = level_of(sides, boxes.new_tensor(decode.strides))
    at_level = torch.isclose(places.stride[:, None], levels[None])
    inside = (
        (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3]) & at_level
    )
    near = inside & (apart < RADIUS * places.stride[:, None])
    if decode.coding == "cell":
        near = torch.zeros_like(near)
    sizes = area(boxes)[None].expand_as(apart).masked_fill(~near, torch.inf)
    least, owner = sizes.min(1)
    owners = owner.masked_fill(least.isinf(), NOTHING)
    return _each_once(owners, -apart.masked_fill(~at_level, torch.inf), area(boxes))


def _by_overlap(places: Places, boxes: Tensor, decode: Anchors) -> Tensor:
    """Anchors that overlap a box by half; between that and less, neither right nor wrong.

    Liu et al., "SSD", 2016; of codings that cannot leave their cell, the anchors there.
    """
    anchors = around(places.boxes[:, :2], places.boxes[:, 2:])
    overlaps = iou_of_all(anchors, boxes)
    if decode.coding in REACH:
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        shift = (places.boxes[:, None, :2] - middle[None]).abs().amax(2)
        reachable = shift <= REACH[decode.coding] * places.stride[:, None]
        if decode.coding == "yolov5":
            grown = (boxes[:, 2:] - boxes[:, :2])[None] / places.boxes[:, None, 2:]
            reachable &= (grown < GROWTH).all(2)
        overlaps = overlaps.masked_fill(~reachable, -1)
    best, owner = overlaps.max(1)
    owners = owner.masked_fill(best < POSITIVE, IGNORED).masked_fill(best < NEGATIVE, NOTHING)
    return _each_once(owners, overlaps, area(boxes))


def _each_once(owners: Tensor, fitness: Tensor, sizes: Tensor) -> Tensor:
    """Give every box that nobody has the candidate that fits it best and is no other's last.

    Args:
        owners: for each candidate its box, [A].
        fitness: how well each candidate fits each box, [A, K]; higher is better.
        sizes: of boxes, [K]: small ones choose first, large ones have more candidates.
    """
    owners = owners.clone()
    counts = torch.bincount(owners[owners >= 0], minlength=len(sizes))
    for box in sizes.argsort().tolist():
        if counts[box]:
            continue
        for candidate in fitness[:, box].topk(min(len(sizes), len(owners))).indices.tolist():
            before = int(owners[candidate])
            if before >= 0 and counts[before] == 1:
                continue
            if before >= 0:
                counts[before] -= 1
            owners[candidate] = box
            counts[box] += 1
            break
    return owners
