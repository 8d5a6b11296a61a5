"""Learn what is where: candidates that should find a box learn its class and its sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.pipeline.task.boxes.loss import loss_of, untaught
from edgeticket.pipeline.task.kind import Array
from edgeticket.pipeline.task.learnt import Learnt


def refuse(outputs: Sequence[Array], settings: BoxesSettings) -> str | None:
    """Settings from which no loss can be had."""
    return untaught(settings)


def misfit(
    outputs: Sequence[Array], targets: Mapping[str, Array], settings: BoxesSettings
) -> str | None:
    """Classes that no score is for."""
    classes = settings.scores.count - (settings.background is not None)
    labels = targets["label"]
    if not len(labels) or labels.max() < classes:
        return None
    at = int(labels.argmax())
    return (
        f"box {at}, of sample {targets['sample'][at]}, has label {labels[at]}, but there are "
        f"scores for {classes} classes, counted from 0: give the network more, and set "
        "task.scores.count"
    )


BOXES = Learnt(
    "boxes",
    {"giou": loss_of("giou"), "l1": loss_of("l1")},
    default=lambda settings: "giou",
    refuse=refuse,
    misfit=misfit,
)
