"""Scales of functions of one number that integer kernels know with one output scale alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from edgeticket.pipeline.graph.module import Step
from edgeticket.pipeline.operators import KINDS, Role
from edgeticket.pipeline.quantize.placement import role
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, activation_scale

# A scale of its own is worth leaving the integer kernel for where it is this much finer: 0.5 dB.
FINER = 1.06

# How far from half way between two codes all 256 results stay: kernels compute functions to some
# 1e-6 of the largest, 3e-4 codes. Zero is the most frequent input by far (behind a ReLU, and
# where nothing is), so its result stays farther.
CLEAR, CLEAR_OF_ZERO = 1e-3, 0.1
WIDER = 1 + np.arange(400) / 2**14  # scales to try, as multiples of the first: to 2.4 % more


def fixed_scales(
    folded: fx.GraphModule, owners: Mapping[fx.Node, fx.Node], ranges: Mapping[str, Range]
) -> dict[str, ActivationScale]:
    """Steps whose output gets the scale that its integer kernels insist on, and that.

    Others of these functions have numbers in a small part of that range: their output has a scale
    of its own, and they are computed in float32 between codes. One that reads another keeps the
    fixed one, in which both are exact (the gates of a GRU).
    """
    steps = _functions(folded)
    reads = {
        name: {owners[n].name for n in node.all_input_nodes if n in owners} & steps.keys()
        for name, node in steps.items()
    }
    chained = {name for name, sources in reads.items() if sources}.union(*reads.values())
    found = {}
    for name, node in steps.items():
        if name not in ranges or owners[node] is not node:
            continue
        scale = ActivationScale(*_fixed(folded, node))
        if name in chained or activation_scale(*ranges[name]).scale * FINER >= scale.scale:
            found[name] = scale
    return found


def clear_of_ties(
    folded: fx.GraphModule,
    owners: Mapping[fx.Node, fx.Node],
    activations: Mapping[str, ActivationScale],
    ranges: Mapping[str, Range],
    bound: Collection[str],
) -> dict[str, ActivationScale]:
    """Scales of functions with a scale of their own, a little wider where that is needed.

    Then no result lies so near to half way between two codes that runtimes, which compute
    functions to their last bits differently, could round it to different sides.

    Args:
        bound: those whose scale others depend on, which stays.
    """
    found = {}
    for name, node in _functions(folded).items():
        sources = [owners[n].name for n in node.all_input_nodes if n in owners]
        if name in bound or owners.get(node) is not node or not sources:
            continue
        chosen = activations[name]
        if (chosen.scale, chosen.zero_point) == _fixed(folded, node):
            continue
        results = _results(folded, node, activations[sources[0]])
        scale = _clear(chosen.scale, results, activations[sources[0]].zero_point)
        found[name] = activation_scale(*ranges[name], scale=scale)
    return found


def _functions(folded: fx.GraphModule) -> dict[str, fx.Node]:
    return {
        node.name: node
        for node in folded.graph.nodes
        if node.op == "call_module" and role(folded.get_submodule(node.name)) is Role.FIXED
    }


def _fixed(folded: fx.GraphModule, node: fx.Node) -> tuple[float, int]:
    step = folded.get_submodule(node.name)
    assert isinstance(step, Step)
    fixed = KINDS[step.kind].fixed
    assert fixed is not None
    return fixed


def _results(
    folded: fx.GraphModule, node: fx.Node, source: ActivationScale
) -> npt.NDArray[np.float64]:
    """What the step makes of each of the 256 codes."""
    codes = torch.arange(LOWEST, HIGHEST + 1, dtype=torch.float64) - source.zero_point
    with torch.inference_mode():
        results = folded.get_submodule(node.name)(codes * source.scale)
    return np.asarray(results.numpy(), np.float64)


def _clear(scale: float, results: npt.NDArray[np.float64], zero_point: int) -> float:
    """The first scale from ``scale`` on that keeps all results clear; else the one that is best."""
    scales = (WIDER * scale).astype(np.float32)
    apart = np.abs(np.abs(np.modf(results / scales[:, None].astype(np.float64))[0]) - 0.5)
    of_zero = apart[:, zero_point - LOWEST]
    margins = np.minimum(apart.min(1) / CLEAR, of_zero / CLEAR_OF_ZERO)
    return float(scales[int(np.argmax(np.minimum(margins, 1)))])
