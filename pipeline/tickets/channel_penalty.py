"""Sparsity of channels by regularisation: train with a penalty, then remove the smallest.

group_l2 is the group lasso over all weights that write a channel, in every layer of its group
(Wen et al., "Learning Structured Sparsity", 2016): λ·Σ√n·‖w_channel‖₂, n the number of weights.
bn_l1 is network slimming (Liu et al., 2017): λ·Σ|γ| over the scales of batch norm.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.network.layers import BatchNorm
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.recipe import ChannelPenalty
from edgeticket.pipeline.tickets.channel_magnitude import (
    channel_norms,
    keep_channels,
    removable,
    weights_of,
)
from edgeticket.pipeline.tickets.ticket import Ticket
from edgeticket.pipeline.train import train


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: ChannelPenalty,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Train ``network`` on with the penalty, and keep its largest channels within the budget.

    Raises:
        InputError: there are no channels to remove, or one without batch norm for ``bn_l1``; the
            budget is below the smallest ticket; the training diverged.
    """
    groups = removable(network)
    module = network.module()
    sizes, factor = SIZES[cfg.penalty]
    # Raises before the training what it would raise after it.
    scores = [sizes(module, group) for group in groups]
    keep_channels(network, groups, scores, budget=cfg.budget, round_to=cfg.round_to)
    factors = [factor(module, group) for group in groups]

    def penalty() -> Tensor:
        pairs = zip(groups, factors, strict=True)
        return torch.stack([f * sizes(module, group).sum() for group, f in pairs]).sum()

    train(
        module,
        data.train,
        cfg.train,
        preprocessing=data.preprocessing,
        seed=seed,
        penalty=lambda: cfg.strength * penalty(),
        resume=resume,
        progress=progress,
        title="train with a penalty",
    )
    scores = [sizes(module, group) for group in groups]
    trained = network.with_weights(module)
    return keep_channels(trained, groups, scores, budget=cfg.budget, round_to=cfg.round_to)


def channel_scales(module: nn.Module, group: ChannelGroup) -> Tensor:
    """Σ|γ| over the batch norms of each channel of ``group``: [width]."""
    device = next(module.parameters()).device
    scales = torch.zeros(group.width, device=device)
    normalised = False
    for layer, span in group.producers.items():
        if isinstance(module.get_submodule(layer), BatchNorm):
            normalised = True
            rows = module.get_parameter(f"{layer}.weight").abs()[list(span.indices)]
            scales = scales.index_add(0, torch.tensor(span.channels, device=device), rows)
    if not normalised:
        raise InputError(
            f"penalty: bn_l1 needs batch norm behind {group.name}, and there is none; use group_l2"
        )
    return scales


def _root_of_size(module: nn.Module, group: ChannelGroup) -> float:
    """√n for the n weights that write one channel, so that every weight is pulled alike."""
    per_channel = sum(
        weight.numel()
        // weight.shape[cut.axis]
        * (len(cut.span.channels) // len(set(cut.span.channels)))
        for weight, cut in weights_of(module, group)
    )
    return float(per_channel**0.5)


def _one(_module: nn.Module, _group: ChannelGroup) -> float:
    return 1.0


SIZES = {"group_l2": (channel_norms, _root_of_size), "bn_l1": (channel_scales, _one)}
