"""Learn pictures out of pictures: the distance of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from edgeticket.device_runner.task.images import ImagesSettings
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss
from edgeticket.pipeline.task.losses import DISTANCES, Distance, in_shape_of

LOSSES = ("l1", "mse", "charbonnier")


def loss_of(distance: Distance) -> Callable[[ImagesSettings], TargetLoss]:
    """The mean distance of pixels, as shares of the range of values."""

    def with_settings(settings: ImagesSettings) -> TargetLoss:
        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            output = outputs[settings.output].float()
            right = in_shape_of(targets["image"], output, "image")
            return distance(output / settings.peak, right / settings.peak).mean()

        return loss

    return with_settings


def monitor(
    outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor], settings: Any
) -> dict[str, float]:
    """The PSNR of the batch as a whole, in dB."""
    output = outputs[settings.output].detach().float()
    right = in_shape_of(targets["image"], output, "image")
    error = ((output - right) / settings.peak).square().mean().item()
    return {"psnr_db": -10 * math.log10(max(error, 1e-10))}


IMAGES = Learnt(
    "images",
    {loss: loss_of(DISTANCES[loss]) for loss in LOSSES},
    default=lambda settings: LOSSES[0],
    monitor=monitor,
    shown=".2f",
)
