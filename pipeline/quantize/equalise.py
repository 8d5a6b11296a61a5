"""Even out the ranges of consecutive layers before they are rounded."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, fx, nn

from edgeticket.pipeline.graph.module import Layer, Step, tied_layers

SWEEPS = 20  # along chains of layers; few change anything after three
CLOSE = 1e-3  # relative change of all factors at which the sweeps end


@torch.no_grad()
def equalise(folded: fx.GraphModule, frozen: Collection[str] = ()) -> None:
    """Cross-layer equalisation, in place: the function stays, the ranges become alike.

    Where a ReLU alone stands between two layers, a positive factor of a channel can move from one
    to the other: relu(s·x) = s·relu(x). It is chosen so that the channel has the same largest
    weight on both sides, s_i = √(r¹_i / r²_i): Nagel et al., "Data-Free Quantization Through
    Weight Equalization and Bias Correction" (2019), 4.1. Weights that are zero stay zero,
    and ``frozen`` layers as they are.
    """
    pairs = _pairs(folded, frozen)
    for _ in range(SWEEPS):
        largest = 0.0
        for first, second in pairs:
            outgoing = first.weight.abs().flatten(1).amax(1)
            incoming = _by_input(second).abs().amax((1, 3)).flatten()
            factors = torch.sqrt(outgoing / incoming)
            factors[~torch.isfinite(factors) | (factors == 0)] = 1.0  # a dead channel
            first.weight /= factors.reshape(-1, *[1] * (first.weight.ndim - 1))
            if first.bias is not None:
                first.bias /= factors
            grouped = _by_input(second)
            grouped *= factors.reshape(len(grouped), 1, -1, 1)
            largest = max(largest, float((factors - 1).abs().max()))
        if largest < CLOSE:
            return


def _passes_factors(step: Step) -> bool:
    """Whether f(s·x) = s·f(x) for a positive factor: a ReLU, a maximum."""
    if step.kind == "Clip":
        return bool(step.attributes["clamp"] == (0.0, math.inf))
    return step.kind == "MaxPool"


def _by_input(layer: Layer) -> Tensor:
    """A view of the weight as [groups, outputs, inputs, kernel], both of them per group."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    outputs, inputs = layer.weight.shape[:2]
    return layer.weight.view(groups, outputs // groups, inputs, -1)


def _pairs(folded: fx.GraphModule, frozen: Collection[str]) -> list[tuple[Layer, Layer]]:
    """Layers with nothing between them but one ReLU, and perhaps a max pool."""
    steps = {n: folded.get_submodule(n.name) for n in folded.graph.nodes if n.op == "call_module"}
    found = []
    kept = {node for nodes in tied_layers(folded) for node in nodes}  # factors would add up
    kept |= {node for node in steps if node.name in frozen}
    for node, first in steps.items():
        if not isinstance(first, Layer) or node in kept:
            continue
        reader = node
        while len(reader.users) == 1:
            reader = next(iter(reader.users))
            step = steps.get(reader)
            if isinstance(step, Layer) and reader not in kept:
                found.append((first, step))
            if not (isinstance(step, Step) and _passes_factors(step)):
                break
    return found
