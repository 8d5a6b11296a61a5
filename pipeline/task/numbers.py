"""Learn numbers, and series: the distance of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from edgeticket.pipeline.task.learnt import Learnt, TargetLoss
from edgeticket.pipeline.task.losses import DISTANCES, Distance, in_shape_of


def loss_of(distance: Distance, name: str) -> Callable[[Any], TargetLoss]:
    """The mean distance of the output and the target called ``name``."""

    def with_settings(settings: Any) -> TargetLoss:
        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            output = outputs[settings.output].float()
            return distance(output, in_shape_of(targets[name], output, name)).mean()

        return loss

    return with_settings


def monitor_of(
    name: str,
) -> Callable[[tuple[Tensor, ...], Mapping[str, Tensor], Any], dict[str, float]]:
    """The mean absolute error of a batch."""

    def monitor(
        outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor], settings: Any
    ) -> dict[str, float]:
        output = outputs[settings.output].detach().float()
        return {"mae": (output - in_shape_of(targets[name], output, name)).abs().mean().item()}

    return monitor


LOSSES = ("mse", "l1", "huber")

NUMBERS = Learnt(
    "numbers",
    {loss: loss_of(DISTANCES[loss], "values") for loss in LOSSES},
    default=lambda settings: LOSSES[0],
    monitor=monitor_of("values"),
    shown=".4g",
)
SERIES = Learnt(
    "series",
    {loss: loss_of(DISTANCES[loss], "future") for loss in LOSSES},
    default=lambda settings: LOSSES[0],
    monitor=monitor_of("future"),
    shown=".4g",
)
