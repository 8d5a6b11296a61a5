"""Learn vectors that are near for one identity, and far for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.embeddings import EmbeddingsSettings
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.task.learnt import Learnt, TargetLoss

OF_ONE = 4  # samples of an identity that come into a batch together
MARGIN = 0.3  # of triplets, in distances of unit vectors
TEMPERATURE = 0.1  # of contrastive loss, as its paper has it


def distances(vectors: Tensor, by: str) -> Tensor:
    """Of all pairs [N, N]: 1 - cosine, or Euclidean."""
    if by == "cosine":
        unit = F.normalize(vectors)
        return 1 - unit @ unit.T
    squares = vectors.square().sum(1)
    apart = squares[:, None] + squares[None] - 2 * vectors @ vectors.T
    return (apart.clamp(min=0) + 1e-9).sqrt()


def triplet(settings: EmbeddingsSettings) -> TargetLoss:
    """The farthest of the same and the nearest of others, a margin apart, for every sample.

    Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017 (batch hard, soft margin aside).
    """

    def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
        vectors = outputs[settings.output].float().flatten(1)
        apart, same = distances(vectors, settings.by), alike(targets["identity"])
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        farthest = apart.masked_fill(~same | itself, 0).amax(1)
        nearest = apart.masked_fill(same, torch.inf).amin(1)
        counted = (same & ~itself).any(1) & ~same.all(1)
        losses = F.relu(farthest - nearest.where(counted, 0) + MARGIN)
        return (losses * counted).sum() / counted.sum().clamp(min=1)

    return loss


def contrastive(settings: EmbeddingsSettings) -> TargetLoss:
    """Each sample picks those of its identity among all others of the batch.

    Khosla et al., "Supervised Contrastive Learning", 2020 (the sum outside of the logarithm).
    """

    def loss(outputs: tuple[Tensor, ...], targets: Mapping[str, Tensor]) -> Tensor:
        vectors = outputs[settings.output].float().flatten(1)
        same = alike(targets["identity"])
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        logits = (-distances(vectors, settings.by) / TEMPERATURE).masked_fill(itself, -torch.inf)
        chances = logits.log_softmax(1).masked_fill(itself, 0)
        positives = (same & ~itself).to(vectors.dtype)
        counts = positives.sum(1)
        losses = -(chances * positives).sum(1) / counts.clamp(min=1)
        counted = counts > 0
        return (losses * counted).sum() / counted.sum().clamp(min=1)

    return loss


def alike(identity: Tensor) -> Tensor:
    """For all pairs [N, N] whether they are of one identity."""
    return identity[:, None] == identity[None]


def arrange(order: Tensor, split: Split, batch_size: int) -> Tensor:
    """Samples of one identity come `OF_ONE` at a time, groups in the order of their first.

    Raises:
        InputError: nothing says whose each sample is, or each is somebody else's.
    """
    assert split.targets is not None
    if "identity" not in split.targets.arrays:
        raise InputError(
            "embeddings are trained with the target identity, [N], and the training examples have "
            "pairs alone: give identity, and pairs as test_pairs"
        )
    identity = torch.from_numpy(split.targets.arrays["identity"].astype("int64"))[order]
    if len(set(identity.tolist())) == len(identity):
        raise InputError(
            f"each of {len(identity)} training examples has an identity of its own: embeddings "
            "are learnt from several of one"
        )
    groups: dict[int, list[list[int]]] = {}
    ranked: list[list[int]] = []
    for place, owner in enumerate(identity.tolist()):
        own_groups = groups.setdefault(owner, [])
        if not own_groups or len(own_groups[-1]) == OF_ONE:
            own_groups.append([])
            ranked.append(own_groups[-1])
        own_groups[-1].append(place)
    # What is left over of an identity teaches little, and comes last.
    ranked.sort(key=lambda group: len(group) < 2)
    return order[torch.tensor([place for group in ranked for place in group])]


LOSSES: Mapping[str, Callable[[EmbeddingsSettings], TargetLoss]] = {
    "triplet": triplet,
    "contrastive": contrastive,
}

EMBEDDINGS = Learnt("embeddings", LOSSES, default=lambda settings: "triplet", arrange=arrange)
