"""What the ways of finding a ticket by learning gates have in common: train, binarise, log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.network import Network
from pipeline.data import Dataset
from pipeline.progress import Progress
from pipeline.recipe import TrainConfig
from pipeline.tickets.masked import Masked
from pipeline.tickets.prunable import keep_largest
from pipeline.tickets.ticket import Ticket
from pipeline.train import evaluate, train


class Scored(Masked):
    """Gates that follow from one learnt score each."""

    scores: torch.nn.Parameter  # [size]

    def ranks(self) -> Tensor:
        """What decides which gates stay open at the end, the largest first: [size]."""
        return self.scores.detach()

    def penalty(self) -> Tensor | float:
        """What the loss adds to make gates shut."""
        return 0.0


def search(
    scored: Scored,
    network: Network,
    data: Dataset,
    cfg: TrainConfig,
    *,
    sparsity: float,
    scope: str,
    adam_lr: Mapping[str, float],
    seed: int,
    resume: Path | None,
    progress: Progress,
) -> Ticket:
    """Train the scores of ``scored``, which was made of ``network``, and keep the largest.

    Returns:
        The mask with exactly the sparsity, and the weights: those that were frozen, untouched;
        those that were trained along, with the values of their gates multiplied into them. The
        statistics of a frozen network are numbers that float16 holds: beside a coded mask they
        are a good part of what has to be stored, and their last bits mean nothing. The
        log says how many gates were neither 0 nor 1 before, and the accuracy before and after.
    """
    train(
        scored,
        data.train,
        cfg,
        preprocessing=data.preprocessing,
        seed=seed,
        penalty=scored.penalty,
        adam_lr=adam_lr,
        resume=resume,
        progress=progress,
        title="find the ticket",
    )
    with torch.no_grad():
        gates = scored.gates()
        mask = keep_largest(scored.split(scored.ranks()), sparsity=sparsity, scope=scope)
        start = network.with_weights(scored.module)
        if scored.frozen:
            start = _half_precision_statistics(start)
        else:
            # A gate that is shut, but kept to meet the sparsity exactly, should still learn.
            folded = {n: t.detach() for n, t in scored.gated(gates.clamp(min=0.01)).items()}
            start = replace(start, weights={**start.weights, **folded})
    validation, steps = data.validation, data.preprocessing
    before = evaluate(scored, validation, preprocessing=steps)
    after = evaluate(mask.apply(start).module(), validation, preprocessing=steps)
    log: dict[str, Any] = {
        "sparsity": 1 - mask.density,
        "kept": mask.densities,
        "gates": scored.size,
        "open_gates": int((gates > 0).sum()),
        "fractional_gates": int(((gates > 0) & (gates < 1)).sum()),
        "validation_top1_with_gates": before.top1,
        "validation_top1_with_mask": after.top1,
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
