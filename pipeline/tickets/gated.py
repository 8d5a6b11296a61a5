"""A network under stochastic gates, as a module that `pipeline.train` can train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.recipe import StochasticGates
from edgeticket.pipeline.tickets.cost_control import augmented_lagrangian
from edgeticket.pipeline.tickets.expected_cost import ExpectedCost

FIRST_MEAN = 0.5  # μ at the start, as in the paper
STIFFNESS = 20.0  # of the augmented Lagrangian, for costs in shares of the dense cost
PRICE_STEP = 0.2


class Gated(nn.Module):
    """``module`` with a gate on every channel of ``groups``; inputs and outputs are its own.

    A gate multiplies what each producer of its channel writes, after batch norm. That is the
    same as multiplying the rows of the last weight and bias before, which costs next to nothing;
    so all examples of a batch share one draw. In evaluation mode a gate is clip(μ, 0, 1).

    Everything that a resumed run needs is a parameter or a buffer.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Sequence[ChannelGroup],
        cost: ExpectedCost,
        cfg: StochasticGates,
        *,
        budget: float,
        steps: int,
    ) -> None:
        """``budget`` is a share of the dense cost; ``steps`` is the length of the training."""
        super().__init__()
        self.module = module
        self.cost = cost
        self.cfg = cfg
        self.budget = budget
        self.steps = steps
        channels = sum(group.width for group in groups)
        self.dense_cost = cost(torch.ones(channels, dtype=torch.float64)).item()
        self.means = nn.Parameter(torch.full((channels,), FIRST_MEAN))
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.price: Tensor  # the Lagrange multiplier
        self.register_buffer("price", torch.zeros((), dtype=torch.float64))
        self.first_share = self.expected_share().item()
        # For each place along an axis of a tensor; the last gate is always 1.
        self.gate_of_place: dict[str, dict[int, Tensor]] = {}
        names = {parameter: name for name, parameter in module.named_parameters()}
        first = 0
        for group in groups:
            for cut in group.cuts:
                if not cut.gate or cut.tensor not in names.values():
                    continue  # of two names for one parameter, the first is gated
                size = module.get_parameter(cut.tensor).shape[cut.axis]
                axes = self.gate_of_place.setdefault(cut.tensor, {})
                gates = axes.setdefault(cut.axis, torch.full((size,), channels))
                gates[list(cut.span.indices)] = first + torch.tensor(cut.span.channels)
            first += group.width

    def forward(self, *inputs: Tensor) -> Any:
        gates: Tensor = self.means
        if self.training:
            gates = gates + self.sigma() * torch.randn_like(gates)
            self.step += 1
        return functional_call(self.module, self.gated_tensors(gates.clamp(0, 1)), inputs)

    def gated_tensors(self, gates: Tensor) -> dict[str, Tensor]:
        """Gates [channels] -> the tensors that they multiply, by name, multiplied."""
        gates = torch.cat([gates, gates.new_ones(1)])
        tensors = {}
        for name, axes in self.gate_of_place.items():
            tensor: Tensor = self.module.get_parameter(name)
            for axis, index in axes.items():
                along = gates[index.to(gates.device)]
                tensor = tensor * along.reshape(-1, *[1] * (tensor.ndim - 1 - axis))
            tensors[name] = tensor
        return tensors

    def share_done(self) -> float:
        """The share of the training that is done, 0..1."""
        return min(1.0, int(self.step) / self.steps)

    def sigma(self) -> float:
        """The noise of the gates now: constant while the cost falls, then falling geometrically.

        With less noise the expected cost has no slope where most gates are, so it cannot be
        steered any more.
        """
        first, last = self.cfg.sigma
        steered = self.cfg.steer_until
        way = max(0.0, self.share_done() - steered) / (1 - steered) if steered < 1 else 0.0
        return first * math.pow(last / first, way)

    def expected_share(self) -> Tensor:
        """Expected cost as a share of the dense cost."""
        open_probability = 0.5 + 0.5 * torch.erf(self.means.double() / (self.sigma() * 2**0.5))
        return self.cost.to(self.means.device)(open_probability) / self.dense_cost

    def target_share(self) -> float:
        """Where the expected cost should be now: from its start to the budget along a cosine."""
        left = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.share_done() / self.cfg.steer_until))
        return self.budget + (self.first_share - self.budget) * left

    def cost_penalty(self) -> Tensor:
        """The term of the loss that brings the expected cost below its target.

        Every call adjusts the price of being above the target.
        """
        excess = self.expected_share() - self.target_share()
        return augmented_lagrangian(self.price, excess, stiffness=STIFFNESS, price_step=PRICE_STEP)
