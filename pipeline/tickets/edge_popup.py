"""edge-popup: Ramanujan et al., "What's Hidden in a Randomly Weighted Neural Network?", 2020.

Every frozen weight has a score s. The forward pass keeps the share k of each layer with the
largest |s|; the gradient passes straight through that choice to the scores.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import EdgePopup
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.prunable import kept_count
from edgeticket.pipeline.tickets.strong import Scored, search
from edgeticket.pipeline.tickets.ticket import Ticket


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
    scored = Popup(network, cfg, span=Span.of(data.train, cfg.train), seed=seed)
    return search(scored, network, data, cfg, seed=seed, resume=resume, progress=progress)


class Popup(Scored):
    """Gates of 1 for the largest |scores| of each layer, of 0 for the others."""

    scope = "layer"

    def __init__(self, network: Network, cfg: EdgePopup, *, span: Span, seed: int) -> None:
        super().__init__(network, cfg.exclude, span=span, frozen=True)
        self.counts = [max(1, kept_count(size, cfg.sparsity)) for size in self.sizes]
        self.scores = nn.Parameter(drawn_scores(self, seed=seed))

    def ranks(self) -> Tensor:
        return self.scores.detach().abs()

    def draw(self) -> Tensor:
        parts = zip(torch.split(self.ranks(), self.sizes), self.counts, strict=True)
        return torch.cat([(part >= _least_kept(part, count)).float() for part, count in parts])

    def straight_through(self, gradient: Tensor) -> None:
        gradient.mul_(self.scores.detach().sign())


def _least_kept(scores: Tensor, count: int) -> Tensor:
    """The smallest score that stays."""
    return scores.topk(count, sorted=False).values.min()


def drawn_scores(scored: Scored, *, seed: int) -> Tensor:
    """Random scores [size] as their authors draw them: U(−b, b), b = √(1 / fan_in) of the layer."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for shape, size in zip(scored.shapes.values(), scored.sizes, strict=True):
        bound = math.sqrt(1 / shape[1:].numel())
        parts.append((2 * torch.rand(size, generator=generator) - 1) * bound)
    return torch.cat(parts)
