"""Stochastic gates on single weights, frozen at random (a strong ticket) or trained along.

stg (Yamada et al., "Feature Selection using Stochastic Gates", 2020): z = clip(μ + σε, 0, 1),
ε ~ N(0, 1).

hard_concrete (Louizos et al., "Learning Sparse Neural Networks through L0 Regularization", 2018):
z = clip(s·(ζ − γ) + γ, 0, 1), s = sigmoid((logit u + log α) / β), u ~ U(0, 1), γ = −0.1, ζ = 1.1.

Gates are rounded, so the network learns which gates suit each other when they are 0 and 1, and
binarising it costs nothing. A gate is then open with probability Φ((μ − ½)/σ), or sigmoid(log α).
The gradient goes through the rounding: for stg with the slope of that probability at the authors' σ
of 0.5, so that gates far from ½ learn little and never nothing; for hard_concrete as if it were not
there. With ``rounded`` off gates are the authors' own, open (not 0) with probability Φ(μ/σ), or
sigmoid(log α − β·log(−γ/ζ)), and binarised at the end.

The expected density follows a cubic schedule (`pipeline.tickets.density_control`), and the noise
anneals.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import WeightGates
from edgeticket.pipeline.tickets.density_control import DensityControlled
from edgeticket.pipeline.tickets.gating import OPEN_ABOVE
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.noise import NoisePool
from edgeticket.pipeline.tickets.strong import search
from edgeticket.pipeline.tickets.ticket import Ticket

GAMMA, ZETA = -0.1, 1.1  # hard concrete's stretch
SLOPE_SIGMA = 0.5  # of the probability whose slope a rounded gate has


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
        InputError: ``cfg.exclude`` does not fit; fewer weights than layers would be kept; the
            training diverged.
    """
    gated = GATES[cfg.gate](network, cfg, span=Span.of(data.train, cfg.train), seed=seed)
    ticket = search(gated, network, data, cfg, seed=seed, resume=resume, progress=progress)
    if cfg.settled is not None:
        by_seed = {**cfg.settled.model_dump(), "seed": seed}
        ticket = replace(ticket, log={**ticket.log, "settled": by_seed})
    return ticket


class Noisy(DensityControlled):
    """Gates with noise in training."""

    middle: float  # the score at which a gate is half open

    def __init__(self, network: Network, cfg: WeightGates, *, span: Span, seed: int) -> None:
        super().__init__(
            network,
            cfg.exclude,
            sparsity=cfg.sparsity,
            reach_at=cfg.reach_at,
            temperature=cfg.noise,
            gate_lr=cfg.gate_lr,
            half_open=self.middle,
            spread=cfg.spread,
            rounded=cfg.rounded,
            frozen=cfg.frozen,
            settled=cfg.settled,
            span=span,
            seed=seed,
        )
        self.pool = NoisePool(self.size, self.fill)

    def fill(self, noise: Tensor) -> None:
        """Fill ``noise`` with independent numbers of the noise's distribution."""
        raise NotImplementedError

    def noise(self) -> Tensor:
        """This step's: [size]."""
        return self.pool.window(self.scores.data, renew=(self.step - 1) % self.span.per_epoch == 0)


class Stg(Noisy):
    """Scores are μ, temperature is σ."""

    middle = 0.5

    def fill(self, noise: Tensor) -> None:
        noise.normal_()

    def draw_free(self) -> Tensor:
        means = self.scores.detach()
        if not self.training:
            return means
        noise = self.noise()
        return torch.add(means, noise, alpha=self.temperature_now(), out=self.memory("drawn"))

    def straight_through_free(self, gradient: Tensor) -> None:
        drawn = self.memory("drawn")
        if self.rounded:
            # Up to a factor, which Adam takes out again. The gates are not needed any more.
            # Powers of 2, since torch's exp takes three times as long on a CPU.
            exponent = -0.5 / SLOPE_SIGMA**2 / math.log(2)
            gradient.mul_(drawn.sub_(0.5).square_().mul_(exponent).exp2_())
        else:
            torch.ops.aten.hardtanh_backward.grad_input(
                gradient, drawn, 0.0, 1.0, grad_input=gradient
            )

    def open_probability(self, scores: Tensor) -> Tensor:
        level = OPEN_ABOVE if self.rounded else 0.0
        probability: Tensor = torch.special.ndtr((scores - level) / self.temperature_now())
        return probability


class HardConcrete(Noisy):
    """Scores are log α, temperature is β."""

    middle = 0.0
    drawn: Tensor

    def fill(self, noise: Tensor) -> None:
        noise.uniform_(1e-6, 1 - 1e-6).logit_()

    def draw_free(self) -> Tensor:
        logits = self.scores.detach()
        if self.training:
            logits = (logits + self.noise()) / self.temperature_now()
        self.drawn = torch.sigmoid(logits)
        return self.drawn * (ZETA - GAMMA) + GAMMA

    def straight_through_free(self, gradient: Tensor) -> None:
        stretched = self.drawn * (ZETA - GAMMA) + GAMMA
        inside = (stretched > 0) & (stretched < 1)
        slope = self.drawn * (1 - self.drawn) * ((ZETA - GAMMA) / self.temperature_now())
        gradient.mul_(slope).mul_(inside)

    def open_probability(self, scores: Tensor) -> Tensor:
        shift = 0.0 if self.rounded else self.temperature_now() * math.log(-GAMMA / ZETA)
        return torch.sigmoid(scores - shift)


GATES: dict[str, type[Noisy]] = {"stg": Stg, "hard_concrete": HardConcrete}
