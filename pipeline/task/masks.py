"""Learn what each pixel is: cross-entropy, and the overlap of each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.task.masks import MasksSettings
from edgeticket.pipeline.task.kind import Array
from edgeticket.pipeline.task.labels import entropy, not_probabilities
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss


def logits_of(output: Tensor, settings: MasksSettings) -> Tensor:
    """The network's output -> float32 [N, classes, H, W] in the size of the targets."""
    values = output.float()
    if settings.form == "channels_last":
        values = values.movedim(-1, 1)
    if settings.enlarge == 1:
        return values
    if settings.by == "bilinear":
        return F.interpolate(values, scale_factor=settings.enlarge, mode="bilinear")
    return F.interpolate(values, scale_factor=settings.enlarge, mode="nearest")


def loss_of(cross_entropy: float, dice: float) -> Callable[[MasksSettings], TargetLoss]:
    """Cross-entropy and dice loss, weighted."""

    def with_settings(settings: MasksSettings) -> TargetLoss:
        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            logits, mask = logits_of(outputs[settings.output], settings), targets["mask"]
            total = logits.new_zeros(())
            if cross_entropy:
                total = total + cross_entropy * pixel_entropy(logits, mask, settings)
            if dice:
                total = total + dice * dice_loss(logits, mask, settings)
            return total

        return loss

    return with_settings


def pixel_entropy(logits: Tensor, mask: Tensor, settings: MasksSettings) -> Tensor:
    """The mean over pixels that count; 0 where none does."""
    counted = mask != settings.ignore
    if logits.shape[1] == 1:
        right = (mask == 1).to(logits.dtype)
        losses = entropy(logits[:, 0], right, settings.activation)
    else:
        losses = F.cross_entropy(logits, mask.where(counted, 0), reduction="none")
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def dice_loss(logits: Tensor, mask: Tensor, settings: MasksSettings) -> Tensor:
    """1 - 2 |A ∩ B| / (|A| + |B|) of probabilities, mean over the classes that the batch has.

    Milletari et al., "V-Net", 2016, with sums instead of squares below.
    """
    counted = (mask != settings.ignore)[:, None]
    if logits.shape[1] == 1:
        probability = logits.sigmoid() if settings.activation == "sigmoid" else logits
        right = (mask == 1)[:, None]
    else:
        probability = logits.softmax(1)
        classes = torch.arange(logits.shape[1], device=logits.device)[None, :, None, None]
        right = mask[:, None] == classes
    probability, right = probability * counted, (right & counted).to(logits.dtype)
    axes = (0, 2, 3)
    both = (probability * right).sum(axes)
    whole = probability.sum(axes) + right.sum(axes)
    present = right.sum(axes) > 0
    losses = 1 - 2 * both / whole.clamp(min=1e-6)
    return (losses * present).sum() / present.sum().clamp(min=1)


def monitor(
    outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor], settings: MasksSettings
) -> dict[str, float]:
    """The share of pixels that are right."""
    logits, mask = logits_of(outputs[settings.output].detach(), settings), targets["mask"]
    if logits.shape[1] == 1:
        probability = logits.sigmoid() if settings.activation == "sigmoid" else logits
        answer = (probability[:, 0] > settings.threshold).long()
    else:
        answer = logits.argmax(1)
    counted = mask != settings.ignore
    right = ((answer == mask) & counted).sum() / counted.sum().clamp(min=1)
    return {"pixels": right.item()}


def refuse(outputs: Sequence[Array], settings: MasksSettings) -> str | None:
    """Classes have no gradient; one channel without an activation is a probability."""
    output = outputs[settings.output]
    if settings.form == "classes":
        return (
            "form is classes: whatever chooses the class of a pixel in the network has no "
            "gradient; let it give a number for each class, or train with a loss of your own"
        )
    channels = output.shape[1 if settings.form == "channels_first" else -1]
    return not_probabilities(output) if channels == 1 and settings.activation == "none" else None


def misfit(
    outputs: Sequence[Array], targets: Mapping[str, Array], settings: MasksSettings
) -> str | None:
    """Classes that the output does not have."""
    if settings.form == "classes":
        return None
    channels = outputs[settings.output].shape[1 if settings.form == "channels_first" else -1]
    counted = targets["mask"][targets["mask"] != settings.ignore]
    highest = int(counted.max()) if counted.size else 0
    if highest < max(channels, 2):
        return None
    return (
        f"masks have classes up to {highest}, the output has {max(channels, 2)}, counted from 0: "
        f"give it more, or set task.ignore, which is {settings.ignore}, to what does not count"
    )


MASKS = Learnt(
    "masks",
    {
        "cross_entropy": loss_of(1.0, 0.0),
        "cross_entropy_dice": loss_of(1.0, 1.0),
        "dice": loss_of(0.0, 1.0),
    },
    default=lambda settings: "cross_entropy",
    monitor=monitor,
    refuse=refuse,
    misfit=misfit,
)
