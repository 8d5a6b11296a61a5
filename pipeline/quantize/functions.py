"""Scales of functions of one number that integer kernels know with one output scale alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from edgeticket.pipeline.graph.module import Step
from edgeticket.pipeline.operators import KINDS, Role
from edgeticket.pipeline.quantize.placement import role
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import ActivationScale, activation_scale

# A scale of its own is worth leaving the integer kernel for where it is this much finer: 0.5 dB.
FINER = 1.06


def fixed_scales(
    folded: fx.GraphModule, owners: Mapping[fx.Node, fx.Node], ranges: Mapping[str, Range]
) -> dict[str, ActivationScale]:
    """Steps whose output gets the scale that its integer kernels insist on, and that.

    Others of these functions have numbers in a small part of that range: their output has a scale
    of its own, and they are computed in float32 between codes. One that reads another keeps the
    fixed one, in which both are exact (the gates of a GRU).
    """
    steps = functions_of(folded)
    reads = {
        name: {owners[n].name for n in node.all_input_nodes if n in owners} & steps.keys()
        for name, node in steps.items()
    }
    chained = {name for name, sources in reads.items() if sources}.union(*reads.values())
    found = {}
    for name, node in steps.items():
        if name not in ranges or owners[node] is not node:
            continue
        scale = ActivationScale(*fixed_scale(folded, node))
        if name in chained or activation_scale(*ranges[name]).scale * FINER >= scale.scale:
            found[name] = scale
    return found


def functions_of(folded: fx.GraphModule) -> dict[str, fx.Node]:
    """The steps of such a function, by name."""
    return {
        node.name: node
        for node in folded.graph.nodes
        if node.op == "call_module" and role(folded.get_submodule(node.name)) is Role.FIXED
    }


def fixed_scale(folded: fx.GraphModule, node: fx.Node) -> tuple[float, int]:
    """Scale and zero point that the integer kernels of a function insist on."""
    step = folded.get_submodule(node.name)
    assert isinstance(step, Step)
    fixed = KINDS[step.kind].fixed
    assert fixed is not None
    return fixed
