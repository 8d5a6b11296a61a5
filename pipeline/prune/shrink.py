"""Remove masked channels physically."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from edgeticket.models.network import Network, Removed
from edgeticket.pipeline.prune.channel_group import ChannelGroup, row_tensors
from edgeticket.pipeline.prune.channels import find_groups, trace
from edgeticket.pipeline.prune.mask import Mask


def shrink(network: Network, mask: Mask) -> Network:
    """Network and mask -> the network without the channels that the mask makes zero.

    A channel goes when the mask zeroes its rows in every layer that writes it. Weights that are
    masked but in no such row stay as zeros, so the outputs are those of the masked network.
    A layer is never left without channels: the first of a wholly masked group stays, as zeros.

    Raises:
        ValueError: the mask does not fit the network.
    """
    masked = mask.apply(network)
    module = masked.module()
    groups = [
        (g, _dead_channels(module, g, mask)) for g in find_groups(module, network.input_shape)
    ]
    channels = {group.name: dead for group, dead in groups if dead and not group.heads}
    removed = _removed_indices(module, network.input_shape, channels)
    for group, dead in groups:
        if dead and group.heads:
            removed |= _removed_heads(module, group, dead)
    weights = dict(masked.weights)
    for name, axes in removed.items():
        for axis, indices in axes.items():
            stays = torch.ones(network.weights[name].shape[axis], dtype=torch.bool)
            stays[list(indices)] = False
            weights[name] = weights[name].index_select(axis, stays.nonzero().flatten())
    return replace(network, weights=weights, removed=_compose(network, removed))


def _dead_channels(module: nn.Module, group: ChannelGroup, mask: Mask) -> list[int]:
    """The channels of ``group`` that no producer writes anything but zeros to."""
    alive = torch.zeros(group.width, dtype=torch.bool)
    for layer, span in group.producers.items():
        for name, parameter in row_tensors(module, layer).items():
            kept = mask.tensors.get(name, torch.ones(parameter.shape, dtype=torch.bool))
            kept_rows = kept.flatten(1).any(1) if kept.ndim > 1 else kept
            alive[torch.tensor(span.channels)[kept_rows[list(span.indices)]]] = True
    dead = (~alive).nonzero().flatten().tolist()
    return dead[1:] if len(dead) == group.width else dead


def _removed_heads(
    module: nn.Module, group: ChannelGroup, dead: list[int]
) -> dict[str, dict[int, tuple[int, ...]]]:
    """What disappears from each tensor and axis when the ``dead`` heads of ``group`` do."""
    return {
        name: {0: span.indices_of(dead)}
        for layer, span in group.producers.items()
        for name in row_tensors(module, layer)
    } | {f"{layer}.weight": {1: span.indices_of(dead)} for layer, span in group.consumers.items()}


def _removed_indices(
    module: nn.Module, input_shape: tuple[int, ...], dead: Mapping[str, list[int]]
) -> dict[str, dict[int, tuple[int, ...]]]:
    """What disappears from each tensor and axis when the ``dead`` channels of each group do.

    torch-pruning narrows a twin in which each value is its own position; what is left tells
    which positions are gone, whatever happens inside torch-pruning.
    """
    before = {name: tensor.shape for name, tensor in module.state_dict().items()}
    twin = module.double()  # float64 counts to 2^53 without a gap
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))
    graph = trace(twin, input_shape)
    layers = dict(twin.named_modules())
    for name, channels in dead.items():
        prune = graph.get_pruner_of_module(layers[name]).prune_out_channels
        graph.get_pruning_group(layers[name], prune, channels).prune()
    removed: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, tensor in twin.state_dict().items():
        for axis, size in enumerate(before[name]):
            if tensor.shape[axis] == size:
                continue
            stride = math.prod(before[name][axis + 1 :])
            positions = tensor.long().flatten() // stride % size
            gone = torch.bincount(positions, minlength=size) == 0
            removed.setdefault(name, {})[axis] = tuple(gone.nonzero().flatten().tolist())
    return removed


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
