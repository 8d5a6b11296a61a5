"""What moves the weights: optimizers, the schedule of their learning rate, and pruned weights that
stay zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.pipeline.recipe import TrainConfig


@dataclass(frozen=True)
class Optimizers:
    """Those of one training, each None where there is nothing for it to train."""

    cfg: TrainConfig
    scheduled: torch.optim.Optimizer | None  # the one that ``cfg`` names
    apart: torch.optim.Optimizer | None  # Adam for what is no weight, at rates of its own
    apart_scheduled: bool  # whether these rates follow the schedule of ``cfg``, too

    @property
    def all(self) -> list[torch.optim.Optimizer]:
        """Those that there are."""
        return [optimizer for optimizer in (self.scheduled, self.apart) if optimizer is not None]

    def set_rates(self, done: float) -> None:
        """Learning rates as the schedule wants them after ``done`` of all steps, 0..1."""
        share = lr_share(self.cfg, done)
        for group in self.scheduled.param_groups if self.scheduled else ():
            group["lr"] = self.cfg.lr * share
        for group in self.apart.param_groups if self.apart and self.apart_scheduled else ():
            group["lr"] = group["peak_lr"] * share


def new_optimizers(
    module: nn.Module,
    cfg: TrainConfig,
    adam_lr: Mapping[str, float],
    *,
    adam_scheduled: bool = False,
    besides: Iterable[nn.Parameter] = (),
) -> Optimizers:
    """That of ``cfg``, and Adam for ``adam_lr``.

    ``besides`` are no parameters of the module; that of ``cfg`` trains them, too.
    """
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    apart = {name: parameters.pop(name) for name in adam_lr}
    peaks = [(p, adam_lr[name]) for name, p in apart.items()]
    groups = [{"params": [p], "lr": peak, "peak_lr": peak} for p, peak in peaks]
    return Optimizers(
        cfg,
        scheduled=_of_config([*parameters.values(), *besides], cfg),
        apart=torch.optim.Adam(groups, fused=True) if groups else None,  # one pass over memory
        apart_scheduled=adam_scheduled,
    )


def _of_config(trained: Sequence[nn.Parameter], cfg: TrainConfig) -> torch.optim.Optimizer | None:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        # Decaying biases and normalisation shrinks the output for nothing in return.
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        return None
    if cfg.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=cfg.lr, weight_decay=cfg.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        nesterov=cfg.momentum > 0,
    )


def lr_share(cfg: TrainConfig, share: float) -> float:
    """Share of all steps that are done, 0..1 -> share of the peak learning rate, 0..1."""
    if share < cfg.warmup:
        # Not from 0: the first step of a run should move, too.
        return 0.01 + 0.99 * share / cfg.warmup
    if cfg.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * (share - cfg.warmup) / (1 - cfg.warmup))
    if cfg.schedule == "step":
        return float(0.1 ** sum(share >= milestone for milestone in cfg.milestones))
    return 1.0


@torch.no_grad()
def zero(gone: Mapping[nn.Parameter, Tensor], optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Zero the weights that are gone, and what the optimizers remember of them."""
    for parameter, where in gone.items():
        parameter.masked_fill_(where, 0)
        for optimizer in optimizers:
            if parameter in optimizer.state:
                for value in optimizer.state[parameter].values():
                    if isinstance(value, Tensor) and value.shape == where.shape:
                        value.masked_fill_(where, 0)
