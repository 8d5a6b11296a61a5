"""What is right moves with its picture: boxes, masks, points, and pictures that are targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.geometry import KEPT_SHARE, LEAST_SIDE
from edgeticket.pipeline.train.augment import AUGMENTATIONS, Draw, Pictured

Named = dict[str, Tensor]
Swap = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Motion:
    """Where the places of a batch's pictures of ``size`` [H, W] go; see `Draw.affine`."""

    factor: Tensor
    shift: Tensor
    size: tuple[int, int]
    mirror: Tensor

    @property
    def sides(self) -> Tensor:
        """Width and height."""
        return self.factor.new_tensor([self.size[1], self.size[0]])


def move_targets(
    targets: Mapping[str, Tensor], part: Draw, task: Task, size: tuple[int, int], swap: Swap
) -> Named:
    """Targets of a batch -> the same for the pictures as ``part`` changes them.

    Args:
        targets: by name, on the device; boxes and points in pixels of the pictures.
        part: what is done to the pictures.
        task: whose targets they are.
        size: height and width of the pictures.
        swap: points that change places in a mirror.
    """
    move = MOVES.get(task.name)
    if move is None:
        return dict(targets)
    motion = Motion(*part.affine(*size), size, part.mirror)
    return move(dict(targets), motion, task.settings, swap)


def check_targets_move(augment: str, task: Task) -> None:
    """
    Raises:
        InputError: targets of this task cannot be moved as ``augment`` moves pictures.
    """
    how = AUGMENTATIONS.get(augment, Pictured())
    if task.name == "images" and (how.zoom or how.light):
        fitting = ", ".join(n for n, h in AUGMENTATIONS.items() if not h.zoom and not h.light)
        raise InputError(
            f"train.augment: {augment} would make pictures that are targets of other pixels than "
            f"those that go in; give one of {fitting}"
        )
    rebuilds = task.name == "anomaly" and task.settings.get("score") == "error"
    if rebuilds and how != Pictured(mirrors=how.mirrors):
        raise InputError(
            f"train.augment: {augment} would change pictures, but not what should be rebuilt of "
            "them; give flip or none"
        )


def _boxes(targets: Named, motion: Motion, settings: Mapping[str, Any], swap: Swap) -> Named:
    """Cut at the edges; what has too little left is dropped, as `geometry.cut` does."""
    owner = targets["sample"]
    factor, shift = motion.factor[owner], motion.shift[owner]
    corners = targets["box"].double().reshape(-1, 2, 2) * factor[:, None] + shift[:, None]
    low, high = corners.amin(1), corners.amax(1)
    sides = motion.sides
    inner_low, inner_high = low.clamp(min=0).minimum(sides), high.clamp(min=0).minimum(sides)
    whole, left = high - low, inner_high - inner_low
    kept = (left >= whole.clamp(max=LEAST_SIDE)).all(1) & (left > 0).all(1)
    kept &= left.prod(1) >= KEPT_SHARE * whole.prod(1)
    moved = {name: array[kept] for name, array in targets.items() if name != "size"}
    moved["box"] = torch.cat([inner_low, inner_high], 1)[kept].to(targets["box"].dtype)
    if "area" in moved:
        share = (left.prod(1) / whole.prod(1).clamp(min=1e-9))[kept]
        grown = factor.prod(1).abs()[kept]
        moved["area"] = (moved["area"] * share * grown).to(targets["area"].dtype)
    return moved


def _points(targets: Named, motion: Motion, settings: Mapping[str, Any], swap: Swap) -> Named:
    """What leaves the picture cannot be seen; in a mirror left is right."""
    points = targets["points"].double() * motion.factor[:, None] + motion.shift[:, None]
    visible = targets.get("visible", torch.ones_like(points[..., 0], dtype=torch.int64)) > 0
    order = torch.arange(points.shape[1], device=points.device)
    for first, second in swap:
        order[first], order[second] = second, first
    mirror = motion.mirror[:, None]
    points = torch.where(mirror[..., None], points[:, order], points)
    visible = torch.where(mirror, visible[:, order], visible)
    visible &= ((points >= 0) & (points <= motion.sides)).all(2)
    moved = torch.where(visible[..., None], points, 0.0).to(targets["points"].dtype)
    grown = motion.factor.prod(1).abs().sqrt()
    lengths = {"length": targets["length"] * grown} if "length" in targets else {}
    return {**targets, **lengths, "points": moved, "visible": visible.long()}


def _masks(targets: Named, motion: Motion, settings: Mapping[str, Any], swap: Swap) -> Named:
    fill = int(settings.get("ignore", 255))
    return {**targets, "mask": moved_planes(targets["mask"], motion, fill=fill)}


def _images(targets: Named, motion: Motion, settings: Mapping[str, Any], swap: Swap) -> Named:
    image = targets["image"]
    if settings.get("form") == "channels_last":
        moved = moved_planes(image.movedim(3, 1), motion, fill=0).movedim(1, 3)
    else:
        moved = moved_planes(image, motion, fill=0)
    return {**targets, "image": moved}


def _rebuilt(targets: Named, motion: Motion, settings: Mapping[str, Any], swap: Swap) -> Named:
    if "input" not in targets:
        return targets
    if targets["input"].ndim not in (3, 4):
        raise InputError(
            f"train.augment: what should be rebuilt is {list(targets['input'].shape[1:])}, no "
            "picture that could be mirrored; give none"
        )
    return {**targets, "input": moved_planes(targets["input"], motion, fill=0)}


def moved_planes(planes: Tensor, motion: Motion, *, fill: int) -> Tensor:
    """[N, H, W] or [N, C, H, W] of any size -> moved as the pictures: each pixel is the one in
    which its middle was, or ``fill``."""
    count, (height, width) = len(planes), planes.shape[-2:]
    places = []
    inside = []
    for axis, pixels in ((1, height), (0, width)):  # y, x
        side = motion.sides[axis]
        middle = (torch.arange(pixels, device=planes.device).double() + 0.5) * side / pixels
        before = (middle - motion.shift[:, axis, None]) / motion.factor[:, axis, None]
        place = (before * pixels / side).floor()
        inside.append((place >= 0) & (place < pixels))
        places.append(place.clamp(0, pixels - 1).long())
    rows, columns = places
    example = torch.arange(count, device=planes.device)[:, None, None]
    channels_last = planes.movedim(1, -1) if planes.ndim == 4 else planes
    moved = channels_last[example, rows[:, :, None], columns[:, None, :]]
    within = inside[0][:, :, None] & inside[1][:, None, :]
    if planes.ndim == 4:
        return torch.where(within[..., None], moved, fill).to(planes.dtype).movedim(-1, 1)
    return torch.where(within, moved, fill).to(planes.dtype)


MOVES: Mapping[str, Callable[[Named, Motion, Mapping[str, Any], Swap], Named]] = {
    "boxes": _boxes,
    "keypoints": _points,
    "masks": _masks,
    "images": _images,
    "anomaly": _rebuilt,
}
