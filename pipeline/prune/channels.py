"""Which channels of a network can only be removed together.

The channels that a convolution writes are read by the next layers; a residual addition ties the
channels of several layers to each other (Fang et al., "DepGraph", 2023). torch-pruning finds
these groups; here they become plain values that name layers.
"""

from __future__ import annotations

import copy

import torch
import torch_pruning
from torch import Tensor, nn
from torch.func import functional_call

from edgeticket.pipeline.graph.network import GraphNetwork
from edgeticket.pipeline.network.layers import BatchNorm, Convolution
from edgeticket.pipeline.prune.channel_group import ChannelGroup, Span, row_tensors
from edgeticket.pipeline.prune.heads import find_heads

Layer = Convolution | nn.Linear | BatchNorm


def find_groups(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[ChannelGroup, ...]:
    """All groups of ``module`` whose channels can be removed.

    The classes at the output are no such group, nor the channels of the input; nor are channels
    that reach a layer with parameters which is neither a convolution, linear nor batch norm. Of a
    transformer these are the hidden units of its MLPs, and its heads where they can go
    (`find_heads`).
    """
    module = copy.deepcopy(module)
    tried = (nn.LayerNorm, nn.MultiheadAttention, GraphNetwork)  # whose numbers are not all layers'
    uncertain = any(isinstance(m, tried) for m in module.modules())
    heads = find_heads(module)
    in_heads = {layer for group in heads for layer in group.producers}
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
        if consumers and made and not foreign and in_heads.isdisjoint(producers):
            width = len(found[0].idxs)
            name = names[found[0].dep.target.module]
            group = ChannelGroup(name, width, producers, consumers, tuple(last))
            if not uncertain or _can_lose_a_channel(module, group, input_shape):
                groups.append(group)
    return (*groups, *heads)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, Convolution) and layer.groups == layer.in_channels > 1


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> torch_pruning.DependencyGraph:
    """torch-pruning's view of ``module``, which it can then narrow in place.

    It follows gradients, so all parameters are made to require one.
    """
    module.requires_grad_()
    example = torch.zeros(1, *input_shape, dtype=next(module.parameters()).dtype)
    return torch_pruning.DependencyGraph().build_dependency(module, example, verbose=False)


def _can_lose_a_channel(
    module: nn.Module, group: ChannelGroup, input_shape: tuple[int, ...]
) -> bool:
    """Whether ``module`` without the first channel of ``group`` is what it is with zeros there.

    Among matrices that are reshaped and multiplied with each other, as attention does it, and where
    stored numbers meet channels, what torch-pruning follows need not be the truth; so it is tried.
    """
    module = copy.deepcopy(module).double().eval().requires_grad_(False)
    masked: dict[str, Tensor] = {}
    narrow: dict[str, Tensor] = {}
    for layer, span in group.producers.items():
        rows = _without(span, len(module.get_parameter(f"{layer}.weight")))
        for name, parameter in row_tensors(module, layer).items():
            masked[name] = parameter.index_fill(0, (~rows).nonzero().flatten(), 0)
            narrow[name] = parameter[rows]
        for name, statistic in module.get_submodule(layer).named_buffers(layer, recurse=False):
            if statistic.ndim:
                narrow[name] = statistic[rows]
    for layer, span in group.consumers.items():
        name = f"{layer}.weight"
        whole = module.get_parameter(name)
        narrow[name] = narrow.get(name, whole)[:, _without(span, whole.shape[1])]
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(2, *input_shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected = functional_call(module, masked, (example,))
        for path in group.producers:
            producer = module.get_submodule(path)
            if isinstance(producer, Convolution) and _is_depthwise(producer):
                producer.groups = len(narrow[f"{path}.weight"])
        try:
            found: Tensor = functional_call(module, narrow, (example,))
        except RuntimeError:
            return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def _without(span: Span, width: int) -> Tensor:
    """Which of a layer's ``width`` channels are not the group's first: bool [width]."""
    stays = torch.ones(width, dtype=torch.bool)
    stays[list(span.indices_of({0}))] = False
    return stays
