"""A ticket whose widths are given: of each group the channels with the largest norms stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.prune.channels import follow_channels
from edgeticket.pipeline.prune.mask import Mask, channel_mask
from edgeticket.pipeline.recipe import Structure
from edgeticket.pipeline.tickets.channel_magnitude import channel_norms
from edgeticket.pipeline.tickets.ticket import Ticket


def find_ticket(
    network: Network,
    data: Dataset,
    cfg: Structure,
    *,
    seed: int,
    resume: Path | None = None,
    progress: Progress = QUIET,
) -> Ticket:
    """Bypass the blocks of a structure, and keep as many channels as it says.

    Raises:
        InputError: there is no such block or group, or it has fewer channels.
    """
    left, mask = cut(network, cfg.keep, cfg.bypass)
    widths = {name: cfg.keep[name] for name in sorted(cfg.keep)}
    return Ticket(mask, left, {"keep": widths, "bypass": sorted(cfg.bypass)})


def cut(network: Network, keep: Mapping[str, int], bypass: Iterable[str]) -> tuple[Network, Mask]:
    """A network without blocks, and the mask of the channels that stay of the rest.

    Groups are those of the whole network; where a block that named one is gone, its other layers
    tell which it is.

    Raises:
        InputError: there is no such block or group, or it has fewer channels.
    """
    gone = frozenset(bypass)
    known = models.removable_blocks(network.module(shared=True))
    for block in sorted(gone - set(known)):
        raise InputError(
            f"structure: {block} is no block that can be bypassed "
            f"(there are: {', '.join(known) or 'none'})"
        )
    whole = follow_channels(network.module(), network.input_shapes).groups
    _check(keep, whole)
    left = network.without(gone) if gone else network
    module = left.module()
    groups = follow_channels(module, left.input_shapes).groups if gone else whole
    kept = [strongest(channel_norms(module, g), _kept(g, whole, keep)) for g in groups]
    return left, channel_mask(module, groups, kept)


def strongest(norms: Tensor, count: int) -> Tensor:
    """Norms [width] -> which ``count`` of the channels stay, bool [width]."""
    stays = torch.zeros(len(norms), dtype=torch.bool)
    stays[norms.detach().argsort(descending=True, stable=True)[:count]] = True
    return stays


def _kept(group: ChannelGroup, whole: Iterable[ChannelGroup], keep: Mapping[str, int]) -> int:
    """How many channels of a group of what is left stay, by the group of the whole network."""
    for former in whole:
        if former.name in keep and set(group.producers) & set(former.producers):
            return min(group.width, keep[former.name])
    return group.width


def _check(keep: Mapping[str, int], groups: Iterable[ChannelGroup]) -> None:
    widths = {group.name: group.width for group in groups}
    for name, count in keep.items():
        if name not in widths:
            raise InputError(
                f"structure: {name} is no group of channels "
                f"(there are: {', '.join(widths) or 'none'})"
            )
        if count > widths[name]:
            raise InputError(f"structure: {name} has {widths[name]} channels, not {count}")
