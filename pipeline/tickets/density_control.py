"""Density control: gates between 0 and 1 whose expected number follows a schedule.

The wanted density falls along a cubic. The penalty that gets it there is on the expected number of
open gates, at the price that meets the density exactly: instead of raising a price step by step and
waiting for the optimizer to follow, all scores are lowered (or raised) together, every few steps,
by the amount that solves for it. That needs no gradient of the density, which would cost three
times the rest of what gates cost.

In the last part of the run exactly the wanted number of gates, those with the largest scores, are
1, without noise, the others 0, and the gradient goes to all scores. So what is kept at the end was
trained with: binarising a network that is 1 % too dense can cost half of its accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.network.draw import settle
from edgeticket.pipeline.recipe.methods.weights import Settled
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.prunable import cubic, keep_best, kept_count
from edgeticket.pipeline.tickets.strong import Scored

EVERY = 10  # steps from one correction, or choice, to the next
CHOOSE_AT = 0.9  # share of the run from which exactly the wanted number of gates is open
SAMPLE = 1 << 14  # gates that the density is taken from, evenly from all layers
LARGEST_STEP = 2.0  # of scores, in one correction
HALVINGS = 12  # of the interval in which the correction is searched


class DensityControlled(Scored):
    """Scored gates with an expected density that follows a schedule."""

    def __init__(
        self,
        network: Network,
        exclude: Sequence[str],
        *,
        sparsity: float,
        reach_at: float,
        temperature: tuple[float, float],
        gate_lr: float,
        half_open: float,
        spread: float,
        rounded: bool,
        frozen: bool,
        span: Span,
        seed: int,
        settled: Settled | None = None,
    ) -> None:
        """``temperature`` is what anneals, geometrically over the run.

        Gates start around the score ``half_open``, which opens them half, with the standard
        deviation ``spread``.
        """
        super().__init__(network, exclude, span=span, frozen=frozen)
        self.count = kept_count(self.size, sparsity, layers=len(self.sizes))
        self.sparsity, self.reach_at, self.temperature = sparsity, reach_at, temperature
        self.rounded = rounded
        self.adam_lr = {"scores": gate_lr}
        generator = torch.Generator().manual_seed(seed)
        self.scores = nn.Parameter(half_open + spread * torch.randn(self.size, generator=generator))
        if settled is not None:
            self._settle(settled, seed)
        self.chosen: Tensor  # 1 for the gates that are open in the last part of the run
        self.register_buffer("chosen", torch.ones(self.size))
        self.first_density = self.density().item()

    @torch.no_grad()
    def _settle(self, settled: Settled, seed: int) -> None:
        """Scores without end for the gates that ``seed`` shuts or opens.

        No noise and no step of Adam moves them, the slope there is 0, and the density counts them.
        """
        chosen = {
            name: settle(shape, name=name, seed=seed, zeros=settled.zeros, ones=settled.ones)
            for name, shape in self.shapes.items()
        }
        parts = self.split(self.scores.data)
        for name, (zeros, ones) in chosen.items():
            parts[name][torch.from_numpy(zeros)] = -torch.inf
            parts[name][torch.from_numpy(ones)] = torch.inf

    def draw_free(self) -> Tensor:
        """`draw`, before gates are chosen."""
        raise NotImplementedError

    def straight_through_free(self, gradient: Tensor) -> None:
        """`straight_through`, before gates are chosen."""
        raise NotImplementedError

    def open_probability(self, scores: Tensor) -> Tensor:
        """The probability that gates with these scores are open, in the shape of ``scores``."""
        raise NotImplementedError

    def draw(self) -> Tensor:
        return self.chosen if self.choosing() else self.draw_free()

    def straight_through(self, gradient: Tensor) -> None:
        if not self.choosing():
            self.straight_through_free(gradient)

    def unrounded(self) -> Tensor:
        return self.draw_free().clamp(0, 1)

    def choosing(self) -> bool:
        """Whether this is the last part of the run, where exactly the best gates are open."""
        return self.share_done() >= CHOOSE_AT

    @torch.no_grad()
    def before_step(self) -> None:
        due = self.step % EVERY == 0
        if self.choosing():
            first = self.step - 1 < CHOOSE_AT * self.span.steps
            if due or first:
                self.chosen.copy_(keep_best(self.scores, self.count, sizes=self.sizes))
        elif due:
            self.scores.sub_(self.surplus(self.target()))

    def density(self) -> Tensor:
        """The expected share of gates that are open."""
        return self.open_probability(self.scores.detach()).mean()

    def target(self) -> float:
        """The density that is wanted now."""
        done = self.share_done() / self.reach_at
        return cubic(done, first=self.first_density, last=1 - self.sparsity)

    def surplus(self, density: float) -> Tensor:
        """By how much all scores must fall so that ``density`` of the gates are open: one number.

        At most `LARGEST_STEP`: where no gate is near its edge, no small change opens or shuts any.
        """
        scores = self.scores.detach()[:: max(1, self.size // SAMPLE)]
        low, high = scores.new_tensor(-LARGEST_STEP), scores.new_tensor(LARGEST_STEP)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            too_dense = self.open_probability(scores - middle).mean() > density
            low, high = torch.where(too_dense, middle, low), torch.where(too_dense, high, middle)
        return (low + high) / 2

    def temperature_now(self) -> float:
        """What anneals moves geometrically from its first value to its last."""
        first, last = self.temperature
        return first * math.pow(last / first, self.share_done())
