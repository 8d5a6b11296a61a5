"""Magnitude pruning of single weights.

The weights with the smallest |w| are zeroed: of the whole network, or the same share of each layer.
At once; or gradually (Zhu and Gupta, "To prune, or not to prune", 2017): while the network is
trained, its sparsity rises as s(t) = s·(1 − (1 − t/T)³), and what is zero stays zero.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import Magnitude
from edgeticket.pipeline.tickets.masked import Masked, Span, flatten
from edgeticket.pipeline.tickets.prunable import cubic, keep_largest, prunable
from edgeticket.pipeline.tickets.ticket import Ticket, facts_of
from edgeticket.pipeline.train import train


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: Magnitude,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Keep the largest weights of ``network``; with ``cfg.train``, of what it becomes by training.

    Raises:
        InputError: ``cfg.exclude`` does not fit; the training diverged.
    """
    if cfg.train is None:
        scores = {n: w.detach().abs() for n, w in prunable(network.module(), cfg.exclude).items()}
        mask = keep_largest(scores, sparsity=cfg.sparsity, scope=cfg.scope)
        return Ticket(mask, network, facts_of(mask))

    masked = GraduallyMasked(network, cfg, span=Span.of(data.train, cfg.train))
    train(
        masked,
        data.train,
        cfg.train,
        preprocessing=data.preprocessing,
        seed=seed,
        resume=resume,
        progress=progress,
        title="prune gradually",
    )
    masked.prune()  # for runs too short to get there
    mask = masked.as_mask(masked.split(masked.kept))
    return Ticket(mask, masked.as_network(network), facts_of(mask))


class GraduallyMasked(Masked):
    """Gates of 0 and 1, of which ever fewer are 1."""

    def __init__(self, network: Network, cfg: Magnitude, *, span: Span) -> None:
        super().__init__(network, cfg.exclude, span=span, frozen=False)
        self.cfg = cfg
        self.kept: Tensor
        self.register_buffer("kept", torch.ones(self.size, dtype=torch.bool))

    def gates(self) -> Tensor:
        due = self.step % self.cfg.every == 0 or self.step == self.span.steps
        if self.training and due:
            self.prune()
        return self.kept

    @torch.no_grad()
    def prune(self) -> None:
        """Zero as many more weights as the schedule wants now."""
        at = 1.0 if self.step >= self.span.steps else self.share_done() / self.cfg.reach_at
        # What is gone already comes last, so it stays gone.
        scores = self.weights().abs().masked_fill(~self.kept, -1)
        mask = keep_largest(
            self.split(scores),
            sparsity=cubic(at, first=0.0, last=self.cfg.sparsity),
            scope=self.cfg.scope,
        )
        self.kept.copy_(torch.cat([flatten(part) for part in mask.tensors.values()]))
