"""Find the scales of a network from the ranges that its tensors take over a calibration set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from device_runner.errors import InputError
from pipeline.quantize.fold import fold_bn
from pipeline.quantize.placement import additions, layer_names, scale_owners
from pipeline.quantize.scales import ActivationScale, Scales, activation_scale, weight_scales
from pipeline.recipe import Ptq

# Scales that meet in an addition become odd multiples of one unit, at most this one.
LARGEST_MULTIPLE = 511

Ranges = dict[str, tuple[float, float]]


def calibrate(module: nn.Module, inputs: Iterable[Tensor], cfg: Ptq) -> Scales:
    """Choose one scale for each activation and one for each output channel of the weights.

    Args:
        module: a float network; it is folded (`fold_bn`) first.
        inputs: preprocessed batches, float32 [n, C, H, W].
        cfg: ``ranges: minmax`` takes the extremes over all inputs; 0 is always in the range.

    Raises:
        InputError: no inputs, an infinite or undefined activation (naming the step), or a
            network that cannot be folded or quantised.
    """
    assert cfg.ranges == "minmax"
    folded = fold_bn(module)
    owners = scale_owners(folded)
    ranges = _observe(folded, inputs, {owner.name for owner in owners.values()})
    activations = {name: activation_scale(*span) for name, span in ranges.items()}
    for group in _connected(additions(folded, owners)):
        activations |= _aligned({name: activations[name] for name in group}, ranges)

    weights = {}
    for node in owners:
        if node.name in layer_names(folded):
            layer = folded.get_submodule(node.name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            (source,) = node.all_input_nodes
            weights[node.name] = weight_scales(
                layer.weight, layer.bias, input_scale=activations[owners[source].name].scale
            )
    return Scales(activations, weights)


def _observe(folded: fx.GraphModule, inputs: Iterable[Tensor], names: set[str]) -> Ranges:
    observer = _Observer(folded, names)
    batches = 0
    with torch.inference_mode():
        for batch in inputs:
            if len(batch):
                observer.run(batch)
                batches += 1
    if not batches:
        raise InputError("the calibration set is empty; int8 ranges need at least one example")
    return observer.ranges


class _Observer(fx.Interpreter):
    """Runs a folded graph and keeps the extremes of the named steps' outputs."""

    def __init__(self, folded: fx.GraphModule, names: set[str]) -> None:
        super().__init__(folded)
        self.names = names
        self.ranges: Ranges = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.names:
            low, high = (float(v) for v in torch.aminmax(result))
            if not (math.isfinite(low) and math.isfinite(high)):
                raise InputError(
                    f"the output of {n.name} is not finite over the calibration set "
                    f"(from {low} to {high}); check the weights and the preprocessing"
                )
            before = self.ranges.get(n.name, (low, high))
            self.ranges[n.name] = min(low, before[0]), max(high, before[1])
        return result


def _connected(triples: list[tuple[str, str, str]]) -> list[list[str]]:
    """Names that additions tie together, directly or through other additions."""
    groups: list[list[str]] = []
    for triple in triples:
        touching = [g for g in groups if set(g) & set(triple)]
        merged = dict.fromkeys([name for g in touching for name in g] + list(triple))
        groups = [g for g in groups if g not in touching] + [list(merged)]
    return groups


def _aligned(group: dict[str, ActivationScale], ranges: Ranges) -> dict[str, ActivationScale]:
    """Widen scales a little so that sums of their tensors never fall half way between codes.

    Runtimes disagree where a sum lies (almost) half way between two codes: some add in float32
    and round half to even, others in fixed point and round half up. With all scales odd
    multiples of a unit, scale_i = k_i × unit, a sum in output codes is the fraction
    (k_a·q_a + k_b·q_b) / k_out with an odd denominator: at least 1 / (2·k_out) from half way,
    far more than any of the roundings inside. Multiples are rounded up, so no range shrinks;
    the unit has 12 significant bits, so every multiple of it is an exact float32.
    """
    largest = max(a.scale for a in group.values())
    mantissa, exponent = math.frexp(largest / LARGEST_MULTIPLE)
    unit = math.ldexp(math.ceil(mantissa * 2**12), exponent - 12)
    aligned = {}
    for name, activation in group.items():
        multiple = math.ceil(activation.scale / unit)
        scale = float(np.float32((multiple + 1 - multiple % 2) * unit))
        aligned[name] = activation_scale(*ranges[name], scale=scale)
    return aligned
