"""Stochastic gates on single weights, frozen at random (a strong ticket) or trained along.

stg (Yamada et al., "Feature Selection using Stochastic Gates", 2020): z = clip(μ + σε, 0, 1),
ε ~ N(0, 1); open with probability Φ(μ/σ); in evaluation clip(μ, 0, 1).

hard_concrete (Louizos et al., "Learning Sparse Neural Networks through L0 Regularization", 2018):
z = clip(s·(ζ − γ) + γ, 0, 1), s = sigmoid((logit u + log α) / β), u ~ U(0, 1), γ = −0.1, ζ = 1.1;
open with probability sigmoid(log α − β·log(−γ/ζ)); in evaluation s = sigmoid(log α).

The expected density is steered down a cubic schedule (`pipeline.tickets.steered`), and the noise
anneals, so that hardly a gate is fractional when the largest are kept at the end.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from models.network import Network
from pipeline.data import Dataset
from pipeline.progress import QUIET, Progress
from pipeline.recipe import WeightGates
from pipeline.tickets.steered import Steered
from pipeline.tickets.strong import search
from pipeline.tickets.ticket import Ticket
from pipeline.train import steps_per_epoch

GAMMA, ZETA = -0.1, 1.1  # hard concrete's stretch


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: WeightGates,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """A ticket of the gates that are most open; strong unless ``cfg.frozen`` is false.

    Raises:
        InputError: ``cfg.exclude`` does not fit; the training diverged.
    """
    kind, half_open = GATES[cfg.gate]
    gated = kind(
        network,
        cfg.exclude,
        sparsity=cfg.sparsity,
        reach_at=cfg.reach_at,
        heat=cfg.noise,
        # With less noise most gates' probabilities have no slope, and steering cannot move them.
        cool_from=min(cfg.reach_at, 0.99),
        half_open=half_open,
        frozen=cfg.frozen,
        steps=cfg.train.epochs * steps_per_epoch(data.train, cfg.train),
        seed=seed,
    )
    return search(
        gated,
        network,
        data,
        cfg.train,
        sparsity=cfg.sparsity,
        scope="global",
        adam_lr={"scores": cfg.gate_lr},
        seed=seed,
        resume=resume,
        progress=progress,
    )


class Stg(Steered):
    """Scores are μ, heat is σ."""

    def all_gates(self) -> Tensor:
        means: Tensor = self.scores
        if self.training:
            means = means + self.heat_now() * torch.randn_like(means)
        return means.clamp(0, 1)

    def density(self) -> Tensor:
        open_probability: Tensor = torch.special.ndtr(self.scores / self.heat_now())
        return open_probability.mean()


class HardConcrete(Steered):
    """Scores are log α, heat is β."""

    def all_gates(self) -> Tensor:
        logits: Tensor = self.scores
        if self.training:
            noise = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            logits = (torch.logit(noise) + logits) / self.heat_now()
        return (torch.sigmoid(logits) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def density(self) -> Tensor:
        return torch.sigmoid(self.scores - self.heat_now() * math.log(-GAMMA / ZETA)).mean()


GATES: dict[str, tuple[type[Steered], float]] = {
    "stg": (Stg, 0.5),
    "hard_concrete": (HardConcrete, 0.0),
}
