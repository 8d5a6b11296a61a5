"""Learn several labels at a time: binary cross-entropy of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.task.labels import LabelsSettings
from edgeticket.pipeline.task.kind import Array
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss

FOCUS = 2.0  # gamma of focal loss, as its paper has it


def entropy(output: Tensor, right: Tensor, activation: str) -> Tensor:
    """Binary cross-entropy at each place, of logits (``sigmoid``) or probabilities (``none``)."""
    if activation == "sigmoid":
        return F.binary_cross_entropy_with_logits(output, right, reduction="none")
    with torch.autocast(output.device.type, enabled=False):
        probability = output.float().clamp(1e-6, 1 - 1e-6)
        return F.binary_cross_entropy(probability, right.float(), reduction="none")


def loss_of(focus: float) -> Callable[[LabelsSettings], TargetLoss]:
    """The mean over labels that are known; those that are sure count less with a ``focus``.

    Lin et al., "Focal Loss for Dense Object Detection", 2017: (1 - p)^gamma before each, p being
    the probability of what is right.
    """

    def with_settings(settings: LabelsSettings) -> TargetLoss:
        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            output, labels = outputs[settings.output].float(), targets["labels"]
            known = labels >= 0
            losses = entropy(output, labels.clamp(min=0).to(output.dtype), settings.activation)
            if focus:
                losses = losses * (1 - torch.exp(-losses)) ** focus
            return (losses * known).sum() / known.sum().clamp(min=1)

        return loss

    return with_settings


def monitor(
    outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor], settings: LabelsSettings
) -> dict[str, float]:
    """The share of known labels that are right."""
    output, labels = outputs[settings.output].detach(), targets["labels"]
    probability = output.sigmoid() if settings.activation == "sigmoid" else output
    known = labels >= 0
    right = ((probability > settings.threshold).long() == labels) & known
    return {"right": (right.sum() / known.sum().clamp(min=1)).item()}


def not_probabilities(output: Array) -> str | None:
    """Why outputs without an activation cannot be learnt as probabilities."""
    if output.size == 0 or (output.min() >= 0 and output.max() <= 1):
        return None
    return (
        f"activation is none, so that outputs should be probabilities, but there is "
        f"{output.min() if output.min() < 0 else output.max():.3g}: set activation: sigmoid, and "
        "leave the sigmoid out of the network"
    )


def refuse(outputs: Sequence[Array], settings: LabelsSettings) -> str | None:
    """Probabilities without an activation."""
    return not_probabilities(outputs[settings.output]) if settings.activation == "none" else None


LABELS = Learnt(
    "labels",
    {"bce": loss_of(0.0), "focal": loss_of(FOCUS)},
    default=lambda settings: "bce",
    monitor=monitor,
    refuse=refuse,
)
