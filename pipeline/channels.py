"""Which channels of a network can only be removed together.

The channels that a convolution writes are read by the next layers; a residual addition ties the
channels of several layers to each other (Fang et al., "DepGraph", 2023). torch-pruning finds
these groups; here they become plain values that name layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch_pruning
from torch import nn

from device_runner.errors import InputError
from pipeline.layers import BatchNorm, Convolution

Layer = Convolution | nn.Linear | BatchNorm


@dataclass(frozen=True)
class Span:
    """Where a layer meets a group: its channel ``indices[i]`` is the group's ``channels[i]``."""

    indices: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that stay or go together.

    A channel is zero when every one of ``producers`` writes zeros to it, and can then be removed
    from all layers of the group without a trace.
    """

    name: str  # of its first layer
    width: int  # number of channels
    producers: Mapping[str, Span]  # layers that write the channels, batch norm included
    # Convolutions and linear layers that read them; a depthwise one is a producer only, because
    # it loses an input with each output.
    consumers: Mapping[str, Span]
    last_producers: tuple[str, ...]  # those whose output no batch norm of the group rescales


def find_groups(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[ChannelGroup, ...]:
    """All groups of ``module`` whose channels can be removed.

    The classes at the output are no such group, nor the channels of the input; nor are channels
    that reach a layer with parameters which is neither a convolution, linear nor batch norm.

    Raises:
        InputError: a transformer: attention splits channels into heads of a fixed size, so
            removing some breaks it.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.LayerNorm | nn.MultiheadAttention):
            raise InputError(
                f"channels cannot be removed from a {type(module).__name__}, because of {name} "
                f"({type(layer).__name__}); use a pass that prunes single weights, or none"
            )
    module = copy.deepcopy(module)
    graph = trace(module, input_shape)
    names = {layer: name for name, layer in module.named_modules()}
    groups = []
    for found in graph.get_all_groups():
        producers: dict[str, Span] = {}
        consumers: dict[str, Span] = {}
        last = []
        foreign = False
        made = False  # in the network; a depthwise layer only passes channels on, maybe the input's
        for member in found:
            node = member.dep.target
            layer = node.module
            if not isinstance(layer, Layer):
                foreign |= isinstance(layer, nn.Parameter) or bool(list(layer.parameters()))
                continue
            span = Span(tuple(member.idxs), tuple(member.root_idxs))
            if graph.is_out_channel_pruning_fn(member.dep.handler):
                producers[names[layer]] = span
                made |= not isinstance(layer, BatchNorm) and not _is_depthwise(layer)
                if not any(isinstance(out.module, BatchNorm) for out in node.outputs):
                    last.append(names[layer])
            else:
                consumers[names[layer]] = span
        if consumers and made and not foreign:
            width = len(found[0].idxs)
            name = names[found[0].dep.target.module]
            groups.append(ChannelGroup(name, width, producers, consumers, tuple(last)))
    return tuple(groups)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, Convolution) and layer.groups == layer.in_channels > 1


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> torch_pruning.DependencyGraph:
    """torch-pruning's view of ``module``, which it can then narrow in place.

    It follows gradients, so all parameters are made to require one.
    """
    module.requires_grad_()
    example = torch.zeros(1, *input_shape, dtype=next(module.parameters()).dtype)
    return torch_pruning.DependencyGraph().build_dependency(module, example, verbose=False)
