"""Magnitude pruning of whole channels.

The score of a channel is the L2 norm of all the weights that write it, over every layer of its
group (Fang et al., "DepGraph", 2023), divided by the mean of its group, so that groups of wide and
of narrow layers can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.channel_group import ChannelGroup, Cut
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.recipe import Budget, ChannelMagnitude
from edgeticket.pipeline.tickets.expected_cost import EXPECTED
from edgeticket.pipeline.tickets.selection import select_channels
from edgeticket.pipeline.tickets.ticket import Ticket


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: ChannelMagnitude,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Keep the channels of ``network`` with the largest norms that fit the budget.

    Raises:
        InputError: there are no channels to remove; the budget is below the smallest ticket.
    """
    groups = removable(network)
    norms = [channel_norms(network.module(), group) for group in groups]
    return keep_channels(network, groups, norms, budget=cfg.budget, round_to=cfg.round_to)


def removable(network: Network) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be removed.

    Raises:
        InputError: there are none.
    """
    channels = follow_channels(network.module(), network.input_shapes)
    if not channels.groups:
        raise InputError(f"{network.arch} has no channels that can be removed{channels.why}")
    return channels.groups


def channel_norms(module: nn.Module, group: ChannelGroup) -> Tensor:
    """The L2 norm of the weights that write each channel of ``group``: [width]."""
    squares = torch.zeros(group.width, device=next(module.parameters()).device)
    for weight, cut in weights_of(module, group):
        rows = weight.square().movedim(cut.axis, 0).flatten(1).sum(1)[list(cut.span.indices)]
        squares = squares.index_add(0, torch.tensor(cut.span.channels, device=rows.device), rows)
    return (squares + 1e-12).sqrt()  # the root has no slope at 0


def weights_of(module: nn.Module, group: ChannelGroup) -> list[tuple[nn.Parameter, Cut]]:
    """The weights that write the channels of ``group``: no biases, nor scales of norms."""
    parameters = dict(module.named_parameters())
    return [
        (parameters[cut.tensor], cut)
        for cut in group.written
        if cut.tensor in parameters and parameters[cut.tensor].ndim > 1
    ]


def keep_channels(
    network: Network,
    groups: Sequence[ChannelGroup],
    scores: Sequence[Tensor],
    *,
    budget: Budget,
    round_to: int,
) -> Ticket:
    """Keep the channels whose scores, in shares of their group's mean, are largest.

    Raises:
        InputError: the budget is below the smallest ticket.
    """
    module = network.module()
    [(kind, share)] = budget.model_dump(exclude_none=True).items()
    cost = EXPECTED[kind](module, groups, network.input_shapes)
    dense_cost = cost(torch.ones(sum(g.width for g in groups), dtype=torch.float64)).item()
    # Between 0 and 1, where blocks are compared by their mean score.
    relative = torch.cat([s.detach().cpu() / s.detach().cpu().mean() for s in scores])
    kept = select_channels(
        relative / relative.max(), groups, cost, limit=share * dense_cost, round_to=round_to
    )
    log = {
        "budget": {kind: share},
        "reached_share": cost(torch.cat(kept).double()).item() / dense_cost,
        "widths": {g.name: [int(k.sum()), g.width] for g, k in zip(groups, kept, strict=True)},
    }
    return Ticket(channel_mask(module, groups, kept), network, log)
