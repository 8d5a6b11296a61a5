"""What the ways of finding a ticket by learning scores have in common: train, binarise, log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.tickets.gating import OPEN_ABOVE, multiply
from edgeticket.pipeline.tickets.masked import Masked, Span
from edgeticket.pipeline.tickets.prunable import keep_largest
from edgeticket.pipeline.tickets.ticket import Ticket, facts_of
from edgeticket.pipeline.train import evaluate, train


class Scored(Masked):
    """Gates that follow from one learnt score each."""

    scores: torch.nn.Parameter  # [size]
    scope = "global"  # where the largest are kept at the end: see `keep_largest`
    adam_lr: Mapping[str, float] = {}  # scores that Adam trains; the others the run's optimizer
    rounded = True  # to 0 and 1

    def __init__(
        self, network: Network, exclude: Sequence[str], *, span: Span, frozen: bool
    ) -> None:
        super().__init__(network, exclude, span=span, frozen=frozen)
        self._memory: dict[str, Tensor] = {}

    def draw(self) -> Tensor:
        """The gates, before they are clipped to 0..1 or rounded; in training with noise: [size]."""
        raise NotImplementedError

    def straight_through(self, gradient: Tensor) -> None:
        """Turn the gradient to the gates into the one to the scores, in place: [size]."""

    def before_step(self) -> None:
        """What is to be decided before the gates of a training step are drawn."""

    def ranks(self) -> Tensor:
        """What decides which gates stay open at the end, the largest first: [size]."""
        return self.scores.detach()

    @torch.no_grad()
    def gates(self) -> Tensor:
        """The gates as they are trained, but without noise: [size]."""
        drawn = self.draw()
        return (drawn > OPEN_ABOVE).float() if self.rounded else drawn.clamp(0, 1)

    def unrounded(self) -> Tensor:
        """The gates [size] without noise, before they are rounded or chosen."""
        return self.gates()

    def gated_weights(self) -> dict[str, Tensor]:
        if not self.training:
            return self.gated(self.gates())
        with torch.no_grad():
            self.before_step()
        weights = [self.module.get_parameter(name) for name in self.shapes]
        return dict(zip(self.shapes, multiply(self, self.scores, weights), strict=True))

    def memory(self, name: str) -> Tensor:
        """Memory [size] on the device of the scores, for each name the same in every step."""
        memory = self._memory.get(name)
        if memory is None or memory.device != self.scores.device:
            memory = self._memory[name] = torch.empty_like(self.scores.detach())
        return memory


class Searching(Protocol):
    """What the configurations of all these methods have."""

    @property
    def sparsity(self) -> float: ...
    @property
    def train(self) -> TrainConfig: ...


def search(
    scored: Scored,
    network: Network,
    data: Dataset,
    cfg: Searching,
    *,
    seed: int,
    resume: Path | None,
    progress: Progress,
) -> Ticket:
    """Train the scores of ``scored``, which was made of ``network``, and keep the largest.

    Returns:
        The mask with exactly the sparsity, and the weights, frozen or trained along. The log says
        how many gates were neither 0 nor 1 by themselves, and the accuracy on validation with the
        gates as the training had them in the end, and with the mask.
        Statistics of a frozen network are numbers that float16 holds: beside a coded mask they are
        a good part of what has to be stored, and their last bits mean nothing.
    """
    train(
        scored,
        data.train,
        cfg.train,
        preprocessing=data.preprocessing,
        seed=seed,
        adam_lr=scored.adam_lr,
        adam_scheduled=True,
        resume=resume,
        progress=progress,
        title="find the ticket",
    )
    with torch.no_grad():
        mask = keep_largest(scored.split(scored.ranks()), sparsity=cfg.sparsity, scope=scored.scope)
        start = network.with_weights(scored.module)
        if scored.frozen:
            start = _half_precision_statistics(start)
        unrounded = scored.unrounded()
    validation, steps = data.validation, data.preprocessing
    log: dict[str, Any] = {
        **facts_of(mask),
        "gates": scored.size,
        "fractional_gates": int(((unrounded > 0.01) & (unrounded < 0.99)).sum()),
        **evaluate(scored, validation, preprocessing=steps).logged("_as_trained"),
        **evaluate(mask.apply(start).module(), validation, preprocessing=steps).logged(
            "_with_mask"
        ),
    }
    return Ticket(mask, start, log)


def _half_precision_statistics(network: Network) -> Network:
    """Batch norm's means and variances rounded to float16, where it has their range."""
    weights = dict(network.weights)
    for name, values in weights.items():
        if name.endswith((".running_mean", ".running_var")):
            rounded = values.half().float()
            usual = values.abs().clamp(torch.finfo(torch.half).tiny, torch.finfo(torch.half).max)
            if values.abs().equal(usual):
                weights[name] = rounded
    return replace(network, weights=weights)
