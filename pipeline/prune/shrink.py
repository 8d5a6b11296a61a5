"""Remove masked channels physically."""

from __future__ import annotations

from dataclasses import replace

import torch

from edgeticket.models.network import Network, Removed
from edgeticket.pipeline.prune.channel_group import ChannelGroup
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.prune.variants import removed_indices


def shrink(network: Network, mask: Mask) -> Network:
    """Network and mask -> the network without the channels that the mask makes zero.

    A channel goes when the mask zeroes its rows in every layer that writes it. Weights that are
    masked but in no such row stay as zeros, so the outputs are those of the masked network.
    A layer is never left without channels: the first of a wholly masked group stays, as zeros.

    Raises:
        ValueError: the mask does not fit the network.
    """
    masked = mask.apply(network)
    groups = find_groups(masked.module(), network.input_shapes)
    removed = removed_indices((group, _dead_channels(group, mask)) for group in groups)
    weights = dict(masked.weights)
    for name, axes in removed.items():
        for axis, indices in axes.items():
            stays = torch.ones(network.weights[name].shape[axis], dtype=torch.bool)
            stays[list(indices)] = False
            weights[name] = weights[name].index_select(axis, stays.nonzero().flatten())
    return replace(network, weights=weights, removed=_compose(network, removed))


def _dead_channels(group: ChannelGroup, mask: Mask) -> list[int]:
    """The channels of ``group`` that nothing writes but zeros to."""
    alive = torch.zeros(group.width, dtype=torch.bool)
    for cut in group.written:
        channels = torch.tensor(cut.span.channels)
        if cut.tensor not in mask.tensors:
            alive[channels] = True
            continue
        kept = mask.tensors[cut.tensor].movedim(cut.axis, 0)
        rows = kept.flatten(1).any(1) if kept.ndim > 1 else kept
        alive[channels[rows[list(cut.span.indices)]]] = True
    dead = (~alive).nonzero().flatten().tolist()
    return dead[1:] if len(dead) == group.width else dead


def _compose(network: Network, removed: Removed) -> Removed:
    """Indices in the narrow network -> indices in its architecture, with those gone before."""
    composed = {name: dict(axes) for name, axes in network.removed.items()}
    for name, axes in removed.items():
        for axis, indices in axes.items():
            gone_before = set(composed.get(name, {}).get(axis, ()))
            full = network.weights[name].shape[axis] + len(gone_before)
            stays = [i for i in range(full) if i not in gone_before]
            gone = gone_before | {stays[i] for i in indices}
            composed.setdefault(name, {})[axis] = tuple(sorted(gone))
    return composed
