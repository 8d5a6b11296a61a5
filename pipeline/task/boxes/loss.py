"""What a detector is trained with: is something here, what is it, where exactly?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.boxes.settings import BoxesSettings, Centres, Direct
from edgeticket.pipeline.task.boxes.assignment import IGNORED, assign
from edgeticket.pipeline.task.boxes.candidates import (
    Places,
    bin_loss,
    decode,
    distances,
    encode,
    places_of,
    rows,
)
from edgeticket.pipeline.task.boxes.overlap import giou
from edgeticket.pipeline.task.labels import entropy
from edgeticket.pipeline.task.learnt import TargetLoss

ALPHA, GAMMA = 0.25, 2.0  # of focal loss, as its paper has them
NEGATIVES = 3  # times as many as positives that a softmax learns from, as in SSD
OF_BOXES, OF_NUMBERS, OF_BINS = 2.0, 0.5, 0.25  # weights beside that of scores


def loss_of(where: str) -> Callable[[BoxesSettings], TargetLoss]:
    """Scores, and boxes by ``where``: `giou` of what they mean, or `l1` of their numbers."""

    def with_settings(settings: BoxesSettings) -> TargetLoss:
        sentence = untaught(settings)
        if sentence is not None:
            raise InputError(f"task: boxes: {sentence}")
        found = places_of(settings)
        assert found is not None
        whole: Places = found

        def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
            scores = rows(outputs, settings.scores, settings)
            if scores.shape[1] != len(whole.stride):
                raise InputError(
                    f"task: boxes: the outputs have {scores.shape[1]} candidates, the settings' "
                    f"strides, sizes and input make {len(whole.stride)}: they must be the same"
                )
            places = whole.to(scores.device)
            owners, boxes, labels = _owners(places, targets, len(scores), settings)
            positive = owners >= 0
            count = max(1, int(positive.sum()))
            total = _of_scores(outputs, scores, owners, labels, settings) / count
            if settings.boxes is not None and positive.any():
                numbers = rows(outputs, settings.boxes, settings)[positive]
                at = positive.nonzero()[:, 1]
                there = Places(places.boxes[at], places.stride[at])
                wanted = boxes[owners[positive]]
                total = total + _of_boxes(numbers, there, wanted, settings, where) / count
            return total

        return loss

    return with_settings


def untaught(settings: BoxesSettings) -> str | None:
    """Why no loss can be had with these settings."""
    if isinstance(settings.decode, Direct):
        return (
            "decode is direct: nothing says which candidate should find which box; train with a "
            "loss of your own, package.module:function, or give decode centres or anchors"
        )
    nothing_can_be_said = settings.background is None and settings.objectness is None
    if settings.activation == "softmax" and nothing_can_be_said:
        return (
            "activation is softmax, but no score means that nothing is there: set background or "
            "objectness, or activation: sigmoid"
        )
    return None


def _owners(
    places: Places, targets: Mapping[str, Tensor], count: int, settings: BoxesSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """For each candidate of each picture the number of its box in the batch, [N, A]; the boxes in
    input pixels, and their labels."""
    boxes, labels = targets["box"].float(), targets["label"]
    crowd = targets.get("crowd")
    ignored = torch.zeros_like(labels, dtype=torch.bool) if crowd is None else crowd > 0
    sample = targets["sample"]
    owners = []
    for picture in range(count):
        of_it = (sample == picture).nonzero()[:, 0]
        own = assign(places, boxes[of_it], ignored[of_it], settings)
        numbers = of_it[own.clamp(min=0)] if len(of_it) else own
        owners.append(numbers.where(own >= 0, own))
    return torch.stack(owners), boxes, labels


def _of_scores(
    outputs: Sequence[Tensor],
    scores: Tensor,
    owners: Tensor,
    labels: Tensor,
    settings: BoxesSettings,
) -> Tensor:
    """The sum over candidates of what their scores lack."""
    positive, counted = owners >= 0, owners != IGNORED
    right = labels[owners.clamp(min=0)] if len(labels) else owners.clamp(min=0)
    if settings.background is not None:
        right = right + (right >= settings.background).long()
        right = right.where(positive, settings.background)
    total = scores.new_zeros(())
    taught = counted
    if settings.objectness is not None:
        raw = rows(outputs, settings.objectness, settings)[:, :, 0]
        kind = "none" if settings.activation == "none" else "sigmoid"
        losses = entropy(raw, positive.to(raw.dtype), kind)
        total = total + (losses * counted).sum()
        taught = positive
    if settings.activation == "softmax":
        losses = F.cross_entropy(scores.movedim(-1, 1), right, reduction="none")
        if settings.objectness is None:
            taught = positive | _hardest(losses.detach(), counted & ~positive, positive)
        return total + (losses * taught).sum()
    wanted = F.one_hot(right, scores.shape[2]).to(scores.dtype)
    if settings.background is None:
        wanted = wanted * positive[:, :, None]
    losses = entropy(scores, wanted, settings.activation)
    if settings.objectness is None:
        share = wanted * ALPHA + (1 - wanted) * (1 - ALPHA)
        losses = share * (1 - torch.exp(-losses)) ** GAMMA * losses
    return total + (losses * taught[:, :, None]).sum()


def _hardest(losses: Tensor, negative: Tensor, positive: Tensor) -> Tensor:
    """Of each picture's negatives those with the highest losses, some times its positives."""
    wanted = (NEGATIVES * positive.sum(1)).clamp(min=NEGATIVES)
    order = losses.masked_fill(~negative, -1).argsort(1, descending=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return negative & (ranks < wanted[:, None])


def _of_boxes(
    numbers: Tensor, places: Places, wanted: Tensor, settings: BoxesSettings, where: str
) -> Tensor:
    """The sum over candidates of how far their boxes are off."""
    decoding = settings.decode
    bins = decoding.bins if isinstance(decoding, Centres) else 0
    aim = encode(wanted, places, settings)
    apart = F.smooth_l1_loss(distances(numbers, bins), aim, reduction="none").mean(1).sum()
    if where == "giou":
        overlap = (1 - giou(decode(numbers, places, settings), wanted)).sum()
        # A box turned inside out has no area, and its overlap no slope.
        total = OF_BOXES * overlap + OF_NUMBERS * apart
    else:
        total = OF_BOXES * apart
    if bins > 1:
        total = total + OF_BINS * bin_loss(numbers, aim, bins).sum()
    return total
