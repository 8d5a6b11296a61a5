"""Which channels of a network can only be removed together, and which have to stay.

The channels that a convolution writes are read by the next layers; a residual addition ties the
channels of several layers to each other (Fang et al., "DepGraph", 2023). They are followed through
the graph of the network (`graph.channel_flow`), operator by operator (`operators.passing`), and
become plain values that name layers. Whether the network's own code goes along with narrower
layers is tried (`trial`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Takes
from edgeticket.pipeline.graph.batches import shapes_of
from edgeticket.pipeline.graph.capture import capture
from edgeticket.pipeline.graph.channel_flow import ChannelFlow, Part
from edgeticket.pipeline.graph.graph import Array, Graph, Operator
from edgeticket.pipeline.graph.remembered import digest_of
from edgeticket.pipeline.operators import KINDS
from edgeticket.pipeline.operators.passing import unknown
from edgeticket.pipeline.prune.channel_group import ChannelGroup, Cut, Span
from edgeticket.pipeline.prune.heads import find_heads
from edgeticket.pipeline.prune.parameters import MarkedParameters, marked
from edgeticket.pipeline.prune.trial import Trial

KEPT = 8  # results that are remembered
SHOWN = 2  # obstacles that a sentence has


@dataclass(frozen=True)
class Obstacle:
    """Channels that stay for one reason."""

    channels: int
    layers: tuple[str, ...]  # that write them
    reason: str


@dataclass(frozen=True)
class Channels:
    """What can be removed from a network, and what cannot."""

    groups: tuple[ChannelGroup, ...]
    obstacles: tuple[Obstacle, ...]

    @property
    def why(self) -> str:
        """What sentences add when there is nothing to remove."""
        shown = [f"{', '.join(o.layers[:2])} {o.reason}".strip() for o in self.obstacles[:SHOWN]]
        return f": {'; '.join(shown)}" if shown else ""


_remembered: OrderedDict[object, Channels] = OrderedDict()


def find_groups(module: nn.Module, takes: Takes) -> tuple[ChannelGroup, ...]:
    """All groups of ``module`` whose channels can be removed; see `follow_channels`."""
    return follow_channels(module, takes).groups


def follow_channels(module: nn.Module, takes: Takes) -> Channels:
    """All groups of ``module`` whose channels can be removed, and why others cannot.

    The network's outputs are no such group, nor the channels of the input. Of a transformer they
    are the hidden units of its MLPs, and its heads where they can go (`find_heads`). Weights do
    not matter. What cannot be followed stays, with the reason.
    """
    twin = marked(module)
    digest = digest_of(twin)
    if digest is None:
        return _follow(twin, takes)
    key = digest, tuple(type(part) for part in twin.modules()), shapes_of(takes)
    if key not in _remembered:
        _remembered[key] = _follow(twin, takes)
        if len(_remembered) > KEPT:
            _remembered.popitem(last=False)
    _remembered.move_to_end(key)
    return _remembered[key]


def _follow(twin: nn.Module, takes: Takes) -> Channels:
    heads = find_heads(twin)
    in_heads = {layer for group in heads for layer in group.producers}
    try:
        graph = capture(twin, shapes_of(takes), opaque=True)
    except InputError as error:
        return Channels(heads, (Obstacle(0, (), str(error)),))
    parameters = MarkedParameters(twin, graph.constants, in_heads)
    flow = _flow(graph, parameters)
    trial = Trial(twin, takes, graph, flow)
    groups = _groups(flow, parameters)
    while groups and (culprits := trial.culprits(groups)):
        for group, why in culprits:
            for cut in group.cuts:
                first = flow.first.get((cut.tensor, cut.axis))
                if first is not None:
                    flow.protect(first + np.array(cut.span.indices), why)
        stay = {group.name for group, _ in culprits}
        groups = tuple(group for group in groups if group.name not in stay)
    return Channels((*groups, *heads), _obstacles(flow, in_heads))


def _flow(graph: Graph, parameters: MarkedParameters) -> ChannelFlow:
    flow = ChannelFlow(graph, parameters, _evaluate)
    for operator in graph.operators:
        kind = KINDS.get(operator.kind)
        if kind is None or kind.channels is None:
            unknown(flow, operator, kind)
        else:
            kind.channels(flow, operator, kind)
    for name in graph.outputs:
        flow.protect_value(name, "is an output of the network")
    return flow


def _evaluate(meaning: Any, operator: Operator, operands: list[Array]) -> Array:
    attributes = dict(operator.attributes)
    if operator.clamp is not None:
        attributes["clamp"] = operator.clamp
    result = meaning(torch, attributes, *(torch.from_numpy(n) for n in operands))
    return np.asarray(result)


def _groups(flow: ChannelFlow, parameters: MarkedParameters) -> tuple[ChannelGroup, ...]:
    """A group for each set of layers that compute the same channels."""
    places: dict[int, dict[tuple[str, int], list[int]]] = {}  # of each channel
    for key, first in flow.first.items():
        for index, root in enumerate(flow.roots(first, parameters.size(*key))):
            if root not in flow.reasons:
                places.setdefault(root, {}).setdefault(key, []).append(index)
    alike: dict[tuple[tuple[str, int], ...], list[dict[tuple[str, int], list[int]]]] = {}
    for channel in places.values():
        makers = tuple(key for key in channel if flow.parts[key] is Part.MAKES)
        if makers and any(flow.parts[key] is Part.READS for key in channel):
            alike.setdefault(makers, []).append(channel)
    groups: list[ChannelGroup] = []
    names: set[str] = set()
    for makers, channels in alike.items():
        if len(channels) < 2:
            continue  # the last channel of a layer stays
        group = _group(flow, parameters, makers, channels, names)
        names.add(group.name)
        groups.append(group)
    return tuple(groups)


def _group(
    flow: ChannelFlow,
    parameters: MarkedParameters,
    makers: tuple[tuple[str, int], ...],
    channels: list[dict[tuple[str, int], list[int]]],
    names: set[str],
) -> ChannelGroup:
    spans = _spans(sorted(channels, key=lambda channel: channel[makers[0]][0]))
    producers: dict[str, Span] = {}
    consumers: dict[str, Span] = {}
    last: list[str] = []
    cuts: list[Cut] = []
    for (tensor, axis), span in spans.items():
        part = flow.parts[tensor, axis]
        writes = part in (Part.MAKES, Part.WRITES)
        gate = writes and not _normed(flow, flow.makers[tensor, axis])
        cuts += [Cut(name, axis, span, writes, gate) for name in parameters.aliases(tensor)]
        layer, _, name = tensor.rpartition(".")
        if part is Part.READS:
            consumers[layer] = span
        elif writes and name == "weight":
            producers[layer] = span
            if gate:
                last.append(layer)
    candidates = [tensor.rpartition(".")[0] for tensor, _ in makers]
    name = next((n for n in candidates if n not in names), f"{candidates[0]} {len(names)}")
    return ChannelGroup(name, len(channels), producers, consumers, tuple(last), cuts=tuple(cuts))


def _spans(channels: list[dict[tuple[str, int], list[int]]]) -> Mapping[tuple[str, int], Span]:
    pairs: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for number, channel in enumerate(channels):
        for key, indices in channel.items():
            pairs.setdefault(key, []).extend((index, number) for index in indices)
    spans = {}
    for key, found in pairs.items():
        found.sort()
        spans[key] = Span(tuple(index for index, _ in found), tuple(n for _, n in found))
    return spans


def _normed(flow: ChannelFlow, operators: list[Operator]) -> bool:
    """Whether a batch norm reads what one of these gives."""
    readers = (reader for op in operators for reader in flow.readers(op.output))
    return any(reader.kind == "BatchNormalization" for reader in readers)


def _obstacles(flow: ChannelFlow, in_heads: Collection[str]) -> tuple[Obstacle, ...]:
    """What stays, by reason; channels that layers compute are counted, heads are no such."""
    layers: dict[str, dict[str, None]] = {}
    roots: dict[str, set[int]] = {}
    for (tensor, axis), first in flow.first.items():
        layer = tensor.rpartition(".")[0]
        if flow.parts[tensor, axis] is not Part.MAKES or layer in in_heads:
            continue
        for root in flow.roots(first, flow.parameters.size(tensor, axis)):
            if (reason := flow.reasons.get(root)) is not None:
                layers.setdefault(reason, {})[layer] = None
                roots.setdefault(reason, set()).add(root)
    return tuple(Obstacle(len(roots[why]), tuple(layers[why]), why) for why in layers)
