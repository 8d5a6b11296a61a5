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
from pipeline.quantize.placement import (
    additions,
    connected,
    integer_steps,
    layer_names,
    product_names,
    scale_owners,
    shared_scales,
    unit_names,
    unit_sources,
)
from pipeline.quantize.scales import ActivationScale, Scales, activation_scale, weight_scales
from pipeline.recipe import Ptq

# Scales that meet in an addition become odd multiples of one unit, within these; integer
# kernels cannot multiply by more than 2^8 while they add.
SMALLEST_MULTIPLE, LARGEST_MULTIPLE = 3, 511

# An output code may be worth this much less than one count of the sum that it rounds (a layer
# that pruning left nearly dead); integer kernels refuse 2^8, and additions widen scales later.
LARGEST_GAIN = 2.0**7

# What a hard sigmoid reads is not resolved finer: its 1/2 must fit int32 in counts of that.
FINEST = 2.0**-16

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
    shared = shared_scales(folded, owners)
    ranges = _observe(folded, inputs, {owner.name for owner in owners.values()})
    ranges |= dict.fromkeys(ranges.keys() & set(unit_names(folded)), (0.0, 1.0))
    for name in ranges.keys() & unit_sources(folded, owners):
        ranges[name] = _union([ranges[name], (-FINEST, FINEST)])
    ranges |= {name: _union([ranges[n] for n in group]) for group in shared for name in group}
    activations = {name: activation_scale(*span) for name, span in ranges.items()}
    weights: dict[str, tuple[float, ...]] = {}
    layers, products = set(layer_names(folded)), set(product_names(folded))
    for node in integer_steps(folded, owners):
        owner = owners[node]
        # The real value of one count of the integer sum that the step adds up.
        sources = [activations[owners[n].name].scale for n in node.all_input_nodes if n in owners]
        count = math.prod(sources) if node.name in products else sources[0]
        if node.name in layers:
            layer = folded.get_submodule(node.name)
            assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
            weights[node.name] = weight_scales(layer.weight, layer.bias, input_scale=count)
            count *= max(weights[node.name])
        least = float(np.float32(count / LARGEST_GAIN))
        if activations[owner.name].scale < least:
            activations[owner.name] = activation_scale(*ranges[owner.name], scale=least)
    for group in shared:
        largest = max(activations[name].scale for name in group)
        activations |= {n: activation_scale(*ranges[n], scale=largest) for n in group}
    sums = additions(folded, owners)
    for group in connected([*sums, *shared]):
        if any(group & names for names in sums):
            activations |= align({name: activations[name] for name in sorted(group)}, ranges)
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


def _union(spans: list[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*spans, strict=True)
    return min(lows), max(highs)


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


def align(group: dict[str, ActivationScale], ranges: Ranges) -> dict[str, ActivationScale]:
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
        multiple = max(math.ceil(activation.scale / unit), SMALLEST_MULTIPLE)
        scale = float(np.float32((multiple + 1 - multiple % 2) * unit))
        aligned[name] = activation_scale(*ranges[name], scale=scale)
    return aligned
