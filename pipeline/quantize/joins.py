"""Branches of a join keep a scale of their own where others read them, too.

What is joined has one scale. A branch with small numbers, joined with one of large numbers, would
be as coarse as that one for all who read it. So it is requantised before the join, by a convolution
of each channel with 1, which both runtimes round alike.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import torch
from torch import fx, nn

from edgeticket.pipeline.graph.graph import Graph, Operator, Value
from edgeticket.pipeline.operators import KEEPING, Role
from edgeticket.pipeline.quantize.placement import Placement, role
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import activation_scale

# A scale this much coarser costs the other readers 3.5 dB; the convolution costs time.
COARSER = 1.5


def unlike_branches(
    folded: fx.GraphModule, placement: Placement, ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Names of the steps to insert (`requantised`) and their ranges, for calibrated ``ranges``.

    A branch may itself be joined: what a pool makes of one join is often a branch of the next,
    whose numbers are larger. So joins are looked at from the last one on, and each knows the scale
    that those behind it leave to it.
    """
    found: dict[str, Range] = {}
    integer = set(placement.integer_steps)
    spans = _spans(folded, placement, ranges)
    scales = {node: activation_scale(*span).scale for node, span in spans.items()}
    at: dict[fx.Node, float] = {}  # join -> the scale that its branches share
    for source, join in reversed(list(_edges(folded))):
        if join not in integer or source not in placement.owners:
            continue
        if join not in at:
            behind = [at[n] for n in _joins_behind(folded, join, found) if n in at]
            at[join] = max([scales[join], *behind])
        is_coarser = scales[source] * COARSER < at[join]
        if is_coarser and _others_read(folded, _origin(folded, placement, source)):
            found[_name(source, join)] = spans[source]
    return found


def _spans(
    folded: fx.GraphModule, placement: Placement, ranges: Mapping[str, Range]
) -> dict[fx.Node, Range]:
    """The range of each rounded tensor by itself, whatever it is joined with later."""
    spans: dict[fx.Node, Range] = {}
    for node in folded.graph.nodes:
        if node not in placement.owners:
            continue
        origin = _origin(folded, placement, node)
        sources = [n for n in origin.all_input_nodes if n in spans]
        if _is_join(folded, origin) and sources:
            lows, highs = zip(*(spans[n] for n in sources), strict=True)
            spans[node] = min(lows), max(highs)
        else:
            spans[node] = ranges[placement.owners[origin].name]
    return spans


def _origin(folded: fx.GraphModule, placement: Placement, node: fx.Node) -> fx.Node:
    """The step whose numbers a tensor holds, as they are or rearranged: what rounded or joined."""
    while (
        node.op == "call_module"
        and not _is_join(folded, node)
        and role(folded.get_submodule(node.name)) in KEEPING
        and placement.owners.get(node) is not node
    ):
        node = node.all_input_nodes[0]
    return node


def _is_join(folded: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and role(folded.get_submodule(node.name)) is Role.JOIN


def _joins_behind(
    folded: fx.GraphModule, node: fx.Node, inserted: Collection[str]
) -> Iterator[fx.Node]:
    """The next joins that read a tensor, as it is or rearranged, but where a step is inserted."""
    for reader in node.users:
        if reader.op != "call_module":
            continue
        if _is_join(folded, reader):
            if _name(node, reader) not in inserted:
                yield reader
        elif role(folded.get_submodule(reader.name)) in KEEPING:
            yield from _joins_behind(folded, reader, inserted)


def requantised(folded: fx.GraphModule, names: Collection[str]) -> fx.GraphModule:
    """A copy of a folded graph with those steps of ``names`` inserted that it lacks."""
    wanted = [edge for edge in _edges(folded) if _name(*edge) in names]
    if not wanted:
        return folded
    folded = copy.deepcopy(folded)
    nodes = {node.name: node for node in folded.graph.nodes}
    graph: Graph = folded.meta["graph"]
    values = dict(graph.values)
    for old_source, old_join in wanted:
        source, join = nodes[old_source.name], nodes[old_join.name]
        name, shape = _name(source, join), values[source.name].shape
        values[name] = Value(name, shape)
        axes = len(shape) - 2
        with folded.graph.inserting_before(join):
            node = folded.graph.create_node("call_module", name, (source,), name=name)
        folded.add_submodule(name, _identity(shape[1], axes))
        operator: Operator = join.meta["operator"]
        attributes = {
            "dilations": [1] * axes,
            "group": shape[1],
            "kernel_shape": [1] * axes,
            "pads": [0] * 2 * axes,
            "strides": [1] * axes,
        }
        node.meta["operator"] = Operator(
            name, "Conv", (source.name, f"{name}.weight"), name, attributes
        )
        inputs = tuple(name if n == source.name else n for n in operator.inputs)
        join.meta = {**join.meta, "operator": replace(operator, inputs=inputs)}
        join.replace_input_with(source, node)
    folded.meta["graph"] = replace(graph, values=values)
    folded.recompile()
    return folded


def inserted_steps(folded: fx.GraphModule) -> frozenset[str]:
    """The steps that `requantised` inserted: their weights are never moved."""
    return frozenset(
        _name(node.all_input_nodes[0], join)
        for node, join in _edges(folded)
        if node.op == "call_module" and node.name == _name(node.all_input_nodes[0], join)
    )


def _edges(folded: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Maps with channels, and the joins that read them."""
    graph: Graph = folded.meta["graph"]
    for join in folded.graph.nodes:
        if join.op == "call_module" and role(folded.get_submodule(join.name)) is Role.JOIN:
            for source in join.all_input_nodes:
                if source.name in graph.values and len(graph.values[source.name].shape) in (3, 4):
                    yield source, join


def _name(source: fx.Node, join: fx.Node) -> str:
    return f"{source.name}_to_{join.name}"


def _identity(channels: int, axes: int) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d)[axes - 1]
    layer = kind(channels, channels, 1, groups=channels, bias=False).requires_grad_(False)
    with torch.no_grad():
        layer.weight.fill_(1)
    return layer.eval()


def _others_read(folded: fx.GraphModule, owner: fx.Node) -> bool:
    """Whether something else than joins reads a tensor, as it is or rearranged."""
    waiting = list(owner.users)
    while waiting:
        reader = waiting.pop()
        if reader.op != "call_module":
            continue  # an output: codes of any scale do
        what = role(folded.get_submodule(reader.name))
        if what is Role.JOIN:
            continue
        if what not in KEEPING:
            return True
        waiting += reader.users
    return False
