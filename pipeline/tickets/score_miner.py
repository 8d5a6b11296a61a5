"""A global, gradual score miner, after Sreenivasan et al., "Rare Gems", 2022 (Gem-Miner).

Every frozen weight has a score. The forward pass keeps the largest scores of the whole network;
how many falls along a cubic to the wanted number, and a weight that was dropped for long is
frozen out: it gets no gradient and cannot come back. Unlike edge-popup it finds by itself how
sparse each layer should be, and no layer has to start with hardly any weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import ScoreMiner
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.prunable import cubic, keep_best, kept_count
from edgeticket.pipeline.tickets.strong import Scored, search
from edgeticket.pipeline.tickets.ticket import Ticket

EVERY = 10  # steps from one choice of the kept weights to the next


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: ScoreMiner,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """A strong ticket: weights of ``network``, untouched, the best of all layers together.

    Raises:
        InputError: ``cfg.exclude`` does not fit; the training diverged.
    """
    scored = Miner(network, cfg, span=Span.of(data.train, cfg.train), seed=seed)
    return search(scored, network, data, cfg, seed=seed, resume=resume, progress=progress)


class Miner(Scored):
    """Gates of 1 for the largest scores, of 0 for the others."""

    def __init__(self, network: Network, cfg: ScoreMiner, *, span: Span, seed: int) -> None:
        super().__init__(network, cfg.exclude, span=span, frozen=True)
        self.cfg = cfg
        kept_count(self.size, cfg.sparsity, layers=len(self.sizes))  # raises before the training
        generator = torch.Generator().manual_seed(seed)
        self.scores = nn.Parameter(torch.rand(self.size, generator=generator))
        self.dropped_at: Tensor  # step at which each weight was dropped; the last: it is kept
        self.register_buffer("dropped_at", torch.full((self.size,), span.steps, dtype=torch.int32))

    def ranks(self) -> Tensor:
        """Scores; those that are frozen out come last."""
        return self.scores.detach().masked_fill(self.frozen_out(), -torch.inf)

    def frozen_out(self) -> Tensor:
        """Which weights were dropped too long ago to come back: bool [size]."""
        return self.step - self.dropped_at > self.cfg.freeze_after * self.span.steps

    def draw(self) -> Tensor:
        return (self.dropped_at == self.span.steps).float()

    def straight_through(self, gradient: Tensor) -> None:
        gradient.masked_fill_(self.frozen_out(), 0)

    def before_step(self) -> None:
        """Keep as many of the largest scores as the schedule wants now."""
        if self.step % EVERY:
            return
        done = self.share_done() / self.cfg.reach_at
        sparsity = cubic(done, first=0.0, last=self.cfg.sparsity)
        kept = keep_best(self.ranks(), kept_count(self.size, sparsity), sizes=self.sizes)
        newly = ~kept & (self.dropped_at == self.span.steps)
        self.dropped_at[kept] = self.span.steps
        self.dropped_at[newly] = self.step
