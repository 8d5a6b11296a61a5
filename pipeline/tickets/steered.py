"""Gates between 0 and 1 whose expected number is steered to the wanted one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.network import Network
from pipeline.tickets.prunable import cubic
from pipeline.tickets.steering import pull_down
from pipeline.tickets.strong import Scored

STIFFNESS = 500.0  # of the augmented Lagrangian, for densities as shares of all weights
PRICE_STEP = 10.0  # how fast the price of being too dense moves


class Steered(Scored):
    """Scored gates with an expected density; a rising price pulls that down a cubic schedule."""

    def __init__(
        self,
        network: Network,
        exclude: Sequence[str],
        *,
        sparsity: float,
        reach_at: float,
        heat: tuple[float, float],
        first_score: float,
        frozen: bool,
        steps: int,
        seed: int,
    ) -> None:
        """``heat`` is what anneals, from the first step to the last; see `heat_now`."""
        super().__init__(network, exclude, steps=steps, frozen=frozen)
        self.sparsity, self.reach_at, self.heat = sparsity, reach_at, heat
        generator = torch.Generator().manual_seed(seed)
        noise = 0.01 * torch.randn(self.size, generator=generator)
        self.scores = nn.Parameter(first_score + noise)
        self.price: Tensor  # the Lagrange multiplier
        self.register_buffer("price", torch.zeros((), dtype=torch.float64))
        self.first_density = self.density().item()

    def density(self) -> Tensor:
        """The expected share of gates that are open, with a gradient to the scores."""
        raise NotImplementedError

    def heat_now(self) -> float:
        """What anneals moves geometrically from its first value to its last."""
        first, last = self.heat
        return first * math.pow(last / first, self.share_done())

    def target(self) -> float:
        """The density that is wanted now."""
        done = self.share_done() / self.reach_at
        return cubic(done, first=self.first_density, last=1 - self.sparsity)

    def penalty(self) -> Tensor:
        excess = self.density().double() - self.target()
        return pull_down(self.price, excess, stiffness=STIFFNESS, price_step=PRICE_STEP)
