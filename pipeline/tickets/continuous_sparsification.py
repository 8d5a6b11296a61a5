"""Continuous sparsification: Savarese et al., "Winning the Lottery with Continuous
Sparsification", 2020.

Every weight is multiplied by sigmoid(β·s) of its score s. β rises geometrically, so that the
gates end at 0 and 1 by themselves. The authors penalise the sum of the gates by a constant; here
its price follows a schedule to the wanted sparsity, as for the other gates.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import ContinuousSparsification
from edgeticket.pipeline.tickets.density_control import DensityControlled
from edgeticket.pipeline.tickets.masked import Span
from edgeticket.pipeline.tickets.strong import search
from edgeticket.pipeline.tickets.ticket import Ticket


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: ContinuousSparsification,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """A ticket of the largest scores; strong unless ``cfg.frozen`` is false.

    Raises:
        InputError: ``cfg.exclude`` does not fit; fewer weights than layers would be kept; the
            training diverged.
    """
    gated = Sigmoid(
        network,
        cfg.exclude,
        sparsity=cfg.sparsity,
        reach_at=cfg.reach_at,
        temperature=cfg.temperature,
        gate_lr=cfg.gate_lr,
        half_open=0.0,
        spread=0.01,
        rounded=False,
        frozen=cfg.frozen,
        span=Span.of(data.train, cfg.train),
        seed=seed,
    )
    return search(gated, network, data, cfg, seed=seed, resume=resume, progress=progress)


class Sigmoid(DensityControlled):
    """Gates sigmoid(β·s), in training and in evaluation."""

    drawn: Tensor

    def draw_free(self) -> Tensor:
        self.drawn = torch.sigmoid(self.temperature_now() * self.scores.detach())
        return self.drawn

    def straight_through_free(self, gradient: Tensor) -> None:
        gradient.mul_(self.drawn * (1 - self.drawn) * self.temperature_now())

    def open_probability(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(self.temperature_now() * scores)
