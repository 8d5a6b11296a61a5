"""Gates between 0 and 1 whose expected number is steered to the wanted one.

Steering brings the density near what is wanted; binarising a network that is 1 % too dense can
still cost half of its accuracy. So from ``reach_at`` of the run on, the penalty is off and only the
wanted number of gates, those that are most open, lets anything through, and what they let through
rises to all of it. In training the choice at the end then changes nothing any more; the gates
themselves, as evaluation has them, may still be fractional.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.network import Network
from pipeline.tickets.prunable import cubic
from pipeline.tickets.steering import pull_down
from pipeline.tickets.strong import Scored

# Of the augmented Lagrangian, for logarithms of the density: a step from 4 % to 2 % is as hard as
# one from 40 % to 20 %.
STIFFNESS = 20.0
PRICE_STEP = 0.2  # how fast the price of being too dense moves
CLOSED_AT = 0.9  # share of the time after reach_at by which all allowed gates are 1
EVERY = 10  # steps from one choice of the allowed gates to the next


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
        cool_from: float,
        half_open: float,
        frozen: bool,
        steps: int,
        seed: int,
    ) -> None:
        """``heat`` is what anneals, from the share ``cool_from`` of the run to its end.

        Gates start at the score ``half_open``, which opens them half.
        """
        super().__init__(network, exclude, steps=steps, frozen=frozen)
        self.sparsity, self.reach_at = sparsity, reach_at
        self.heat, self.cool_from = heat, cool_from
        generator = torch.Generator().manual_seed(seed)
        noise = 0.01 * torch.randn(self.size, generator=generator)
        self.half_open = half_open
        self.scores = nn.Parameter(half_open + noise)
        self.price: Tensor  # the Lagrange multiplier
        self.register_buffer("price", torch.zeros((), dtype=torch.float64))
        self.allowed: Tensor  # which gates let something through
        self.register_buffer("allowed", torch.ones(self.size, dtype=torch.bool))
        self.first_density = self.density().item()

    def all_gates(self) -> Tensor:
        """The gates [size], as if all were allowed."""
        raise NotImplementedError

    def gates(self) -> Tensor:
        gates = self.all_gates()
        past = self.share_done() - self.reach_at
        if past < 0:
            return gates
        if not self.training:
            return gates * self.allowed
        if int(self.step) % EVERY == 0:
            self.limit()
        closed = min(1.0, past / (CLOSED_AT * (1 - self.reach_at) + 1e-9))
        return self.allowed * torch.lerp(gates, torch.ones_like(gates), closed)

    @torch.no_grad()
    def limit(self) -> None:
        """Allow the wanted number of gates, those that are most open."""
        count = self.size - round(self.sparsity * self.size)
        best = self.scores.topk(count, sorted=False)
        if self.allowed.all() and count < self.size:
            # Up to now the price pressed all gates down, and some that are kept are shut. It is
            # gone, so all move up until the least of those that are kept is half open.
            self.scores.add_(self.half_open - best.values.min())
        self.allowed.fill_(False)
        self.allowed[best.indices] = True

    def density(self) -> Tensor:
        """The expected share of gates that are open, with a gradient to the scores."""
        raise NotImplementedError

    def heat_now(self) -> float:
        """What anneals moves geometrically from its first value to its last."""
        first, last = self.heat
        way = max(0.0, self.share_done() - self.cool_from) / (1 - self.cool_from)
        return first * math.pow(last / first, way)

    def target(self) -> float:
        """The density that is wanted now."""
        done = self.share_done() / self.reach_at
        return cubic(done, first=self.first_density, last=1 - self.sparsity)

    def penalty(self) -> Tensor | float:
        if self.share_done() >= self.reach_at:
            return 0.0
        excess = self.density().double().log() - math.log(self.target())
        return pull_down(self.price, excess, stiffness=STIFFNESS, price_step=PRICE_STEP)
