"""Sparsity of weights by regularisation: train with λ·Σ|w|, then zero the smallest.

The lasso (Tibshirani 1996) pulls every weight to zero at the same speed, so those that the task
does not hold end near it (Han et al., "Learning both Weights and Connections", 2015).
"""

from __future__ import annotations

from pathlib import Path

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import WeightPenalty
from edgeticket.pipeline.tickets.prunable import keep_largest, prunable
from edgeticket.pipeline.tickets.ticket import Ticket, facts_of
from edgeticket.pipeline.train import train


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: WeightPenalty,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Train ``network`` on with the penalty, and keep its largest weights.

    The log says how many weights were below a hundredth of their layer's largest before.

    Raises:
        InputError: ``cfg.exclude`` does not fit; the training diverged.
    """
    module = network.module()
    weights = prunable(module, cfg.exclude)
    train(
        module,
        data.train,
        cfg.train,
        preprocessing=data.preprocessing,
        seed=seed,
        penalty=lambda: cfg.strength * sum(w.abs().sum() for w in weights.values()),
        resume=resume,
        progress=progress,
        title="train with a penalty",
    )
    sizes = {name: weight.detach().abs() for name, weight in weights.items()}
    mask = keep_largest(sizes, sparsity=cfg.sparsity, scope=cfg.scope)
    log = {
        **facts_of(mask),
        "small_before": {n: (s < s.max() / 100).double().mean().item() for n, s in sizes.items()},
    }
    return Ticket(mask, network.with_weights(module), log)
