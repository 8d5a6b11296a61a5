"""Learn where points are: the distance of coordinates, or of heat maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edgeticket.device_runner.task.keypoints import KeypointsSettings
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss
from edgeticket.pipeline.task.losses import DISTANCES, Distance

LOSSES = ("mse", "l1", "huber")


def loss_of(distance: Distance) -> Callable[[KeypointsSettings], TargetLoss]:
    """The distance at points that are visible, mean over them."""

    def with_settings(settings: KeypointsSettings) -> TargetLoss:
        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            output = outputs[settings.output].float()
            points = in_units(targets["points"], settings)
            if settings.form == "points":
                each = distance(output.reshape(points.shape), points).mean(2)
            else:
                maps = output if settings.form == "heatmaps_first" else output.movedim(-1, 1)
                wanted, size = heat_maps(points, maps.shape[2], maps.shape[3])
                each = distance(maps, wanted).sum((2, 3)) / size
            visible = is_visible(targets).to(each.dtype)
            return (each * visible).sum() / visible.sum().clamp(min=1)

        return loss

    return with_settings


def in_units(points: Tensor, settings: KeypointsSettings) -> Tensor:
    """Pixels [N, points, 2] -> what the network should say: the inverse of the settings' form."""
    factor, offset = points.new_tensor(settings.factor), points.new_tensor(settings.offset)
    return points / factor - offset


def is_visible(targets: Mapping[str, Tensor]) -> Tensor:
    """For each point [N, points] whether it counts."""
    points = targets["points"]
    visible = targets.get("visible")
    return torch.ones_like(points[..., 0]) > 0 if visible is None else visible > 0


def heat_maps(points: Tensor, height: int, width: int) -> tuple[Tensor, float]:
    """Cells [N, points, 2] -> maps [N, points, H, W] that are 1 there and fall off as a Gaussian,
    and the sum of the squares of one, by which errors are measured.

    Tompson et al., "Joint Training of a Convolutional Network and a Graphical Model", 2014.
    """
    sigma = max(1.0, max(height, width) / 32)
    across = torch.arange(width, device=points.device, dtype=points.dtype)
    down = torch.arange(height, device=points.device, dtype=points.dtype)
    x = torch.exp(-((across - points[..., :1]) ** 2) / (2 * sigma**2))
    y = torch.exp(-((down - points[..., 1:]) ** 2) / (2 * sigma**2))
    return y[..., :, None] * x[..., None, :], math.pi * sigma**2


def monitor(
    outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor], settings: KeypointsSettings
) -> dict[str, float]:
    """The mean distance of visible points, in pixels of the targets."""
    if settings.form != "points":
        return {}
    output, points = outputs[settings.output].detach().float(), targets["points"]
    factor, offset = points.new_tensor(settings.factor), points.new_tensor(settings.offset)
    apart = ((output.reshape(points.shape) + offset) * factor - points).norm(dim=2)
    visible = is_visible(targets)
    return {"pixels off": ((apart * visible).sum() / visible.sum().clamp(min=1)).item()}


KEYPOINTS = Learnt(
    "keypoints",
    {loss: loss_of(DISTANCES[loss]) for loss in LOSSES},
    default=lambda settings: LOSSES[0],
    monitor=monitor,
    shown=".4g",
)
