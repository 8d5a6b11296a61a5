"""edge-popup: Ramanujan et al., "What's Hidden in a Randomly Weighted Neural Network?", 2020.

Every frozen weight has a score s. The forward pass keeps the share k of each layer with the
largest |s|; the gradient passes straight through that choice to the scores.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from models.network import Network
from pipeline.data import Dataset
from pipeline.progress import QUIET, Progress
from pipeline.recipe import EdgePopup
from pipeline.tickets.strong import Scored, search
from pipeline.tickets.ticket import Ticket
from pipeline.train import steps_per_epoch


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: EdgePopup,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """A strong ticket: weights of ``network``, untouched, of which each layer keeps the same share.

    Raises:
        InputError: ``cfg.exclude`` does not fit; the training diverged.
    """
    steps = cfg.train.epochs * steps_per_epoch(data.train, cfg.train)
    scored = Popup(network, cfg, steps=steps, seed=seed)
    return search(
        scored,
        network,
        data,
        cfg.train,
        sparsity=cfg.sparsity,
        scope="layer",
        adam_lr={},
        seed=seed,
        resume=resume,
        progress=progress,
    )


class Popup(Scored):
    """Gates of 1 for the largest |scores| of each layer, of 0 for the others."""

    def __init__(self, network: Network, cfg: EdgePopup, *, steps: int, seed: int) -> None:
        super().__init__(network, cfg.exclude, steps=steps, frozen=True)
        self.sparsity = cfg.sparsity
        self.scores = nn.Parameter(drawn_scores(self, seed=seed))

    def ranks(self) -> Tensor:
        return self.scores.detach().abs()

    def gates(self) -> Tensor:
        parts = torch.split(self.ranks(), self.sizes)
        hard = torch.cat([part >= _least_kept(part, self.sparsity) for part in parts])
        return straight_through(hard, self.scores.abs())


def _least_kept(scores: Tensor, sparsity: float) -> Tensor:
    """The smallest score that stays."""
    kept = len(scores) - round(sparsity * len(scores))
    return scores.topk(kept, sorted=False).values.min() if kept else scores.new_tensor(torch.inf)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The values of ``hard`` with the gradient of ``soft``."""
    return hard + (soft - soft.detach())


def drawn_scores(scored: Scored, *, seed: int) -> Tensor:
    """Random scores [size] as their authors draw them: U(−b, b), b = √(1 / fan_in) of the layer."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for shape, size in zip(scored.shapes.values(), scored.sizes, strict=True):
        bound = math.sqrt(1 / shape[1:].numel())
        parts.append((2 * torch.rand(size, generator=generator) - 1) * bound)
    return torch.cat(parts)
