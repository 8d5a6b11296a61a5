"""Learn what is usual, by rebuilding it; or what is not, from examples of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.task.anomaly import AnomalySettings
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss
from edgeticket.pipeline.task.losses import in_shape_of


def reconstruction(settings: AnomalySettings) -> TargetLoss:
    """The mean squared error of what is rebuilt of usual samples; unusual ones teach nothing.

    Where the network gives its score itself, that of usual samples is made small.
    """

    def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
        output = outputs[settings.output].float()
        usual = (targets["anomalous"] == 0).to(output.dtype)
        if settings.score == "error":
            each = (output - in_shape_of(targets["input"], output, "input")) ** 2
        else:
            each = output
        means = each.reshape(len(each), -1).mean(1)
        return (means * usual).sum() / usual.sum().clamp(min=1)

    return loss


def bce(settings: AnomalySettings) -> TargetLoss:
    """Binary cross-entropy of the score as a logit, or of the error's; both kinds weigh alike."""

    def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
        output = outputs[settings.output].float()
        if settings.score == "error":
            output = (output - in_shape_of(targets["input"], output, "input")) ** 2
        score = output.reshape(len(output), -1).mean(1)
        right = targets["anomalous"].to(score.dtype)
        losses = F.binary_cross_entropy_with_logits(score, right, reduction="none")
        kinds = [losses[right == kind] for kind in (0, 1)]
        present = [kind.mean() for kind in kinds if len(kind)]
        return sum(present[1:], present[0]) / len(present)

    return loss


ANOMALY = Learnt(
    "anomaly",
    {"reconstruction": reconstruction, "bce": bce},
    default=lambda settings: "reconstruction" if settings.score == "error" else "bce",
)
