"""Magnitude pruning of single weights.

The weights with the smallest |w| are zeroed: of the whole network, or the same share of each layer.
At once; or gradually (Zhu and Gupta, "To prune, or not to prune", 2017): while the network is
trained, its sparsity rises as s(t) = s·(1 − (1 − t/T)³), and what is zero stays zero.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.network import Network
from pipeline.data import Dataset
from pipeline.progress import QUIET, Progress
from pipeline.recipe import Magnitude, TrainConfig
from pipeline.tickets.masked import Masked
from pipeline.tickets.prunable import cubic, keep_largest, prunable
from pipeline.tickets.ticket import Ticket
from pipeline.train import steps_per_epoch, train


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
        return Ticket(mask, network, {"sparsity": 1 - mask.density, "kept": mask.densities})

    steps = cfg.train.epochs * steps_per_epoch(data.train, cfg.train)
    masked = GraduallyMasked(network, cfg, cfg.train, steps=steps)
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
    log = {"sparsity": 1 - mask.density, "kept": mask.densities}
    return Ticket(mask, masked.as_network(network), log)


class GraduallyMasked(Masked):
    """Gates of 0 and 1, of which ever fewer are 1."""

    def __init__(self, network: Network, cfg: Magnitude, train: TrainConfig, *, steps: int) -> None:
        super().__init__(network, cfg.exclude, steps=steps, frozen=False)
        self.cfg = cfg
        self.kept: Tensor
        self.register_buffer("kept", torch.ones(self.size, dtype=torch.bool))

    def gates(self) -> Tensor:
        due = int(self.step) % self.cfg.every == 0 or int(self.step) == self.steps
        if self.training and due:
            self.prune()
        return self.kept

    @torch.no_grad()
    def prune(self) -> None:
        """Zero as many more weights as the schedule wants now."""
        at = 1.0 if int(self.step) >= self.steps else self.share_done() / self.cfg.reach_at
        # What is gone already comes last, so it stays gone.
        scores = self.weights().abs().masked_fill(~self.kept, -1)
        mask = keep_largest(
            self.split(scores),
            sparsity=cubic(at, first=0.0, last=self.cfg.sparsity),
            scope=self.cfg.scope,
        )
        self.kept.copy_(torch.cat([part.flatten() for part in mask.tensors.values()]))
