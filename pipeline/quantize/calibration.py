"""Find the scales of a network from the values that its tensors take over a calibration set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.batches import Batch, size_of, takes_of
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.alignment import align
from edgeticket.pipeline.quantize.alike import rounded_alike
from edgeticket.pipeline.quantize.fold import fold_bn
from edgeticket.pipeline.quantize.functions import fixed_scales, functions_of
from edgeticket.pipeline.quantize.joins import requantised, unlike_branches
from edgeticket.pipeline.quantize.observe import Ranges, observe_extremes, observe_histograms
from edgeticket.pipeline.quantize.placement import (
    Placement,
    connected,
    place,
    product_names,
)
from edgeticket.pipeline.quantize.ranges import RANGES, Range
from edgeticket.pipeline.quantize.scales import (
    HIGHEST,
    LOWEST,
    ActivationScale,
    Scales,
    WeightRanges,
    activation_scale,
    weight_scales,
)
from edgeticket.pipeline.quantize.ties import clear_of_ties
from edgeticket.pipeline.recipe import Ptq

# An output code may be worth this much less than one count of the sum that it rounds (a layer
# that pruning left nearly dead); integer kernels refuse 2^8, and additions widen scales later.
LARGEST_GAIN = 2.0**7

# A hard sigmoid is a convolution by 1/6, as a code of up to 127.
FUNCTION_COUNTS = 6 * 127


def calibrate(module: nn.Module, inputs: Iterable[Batch], cfg: Ptq) -> Scales:
    """Choose one scale for each activation and one for each output channel of the weights.

    Args:
        module: a float network; it is folded (`fold_bn`) first, unless it is.
        inputs: preprocessed batches, float32 [n, C, H, W], or a tensor for each input; 0 is always
            in the range.
        cfg: how ranges are chosen, and which layers are kept in float32.

    Raises:
        InputError: no inputs, an infinite or undefined activation (naming the step), a network
            that cannot be folded or quantised, or a layer to keep that there is not.
    """
    batches = [batch for batch in inputs if size_of(batch)]
    if not batches:
        raise InputError("the calibration set is empty; int8 ranges need at least one example")
    folded = fold_bn(module, takes_of(batches[0]), shared=True)
    placement = place(folded, keep_fp32=cfg.keep_fp32)
    ranges = observe_extremes(folded, batches, placement.rounded)
    if cfg.ranges != "minmax":
        histograms = observe_histograms(folded, batches, ranges)
        ranges = {name: RANGES[cfg.ranges](h, cfg) for name, h in histograms.items()}
    if spans := unlike_branches(folded, placement, ranges):
        folded = requantised(folded, spans)
        placement = place(folded, keep_fp32=cfg.keep_fp32)
        ranges |= spans
    return scales_of(folded, placement, ranges, weight_ranges=cfg.weight_ranges)


def scales_of(
    folded: fx.GraphModule,
    placement: Placement,
    ranges: Ranges,
    *,
    weight_ranges: WeightRanges = "minmax",
) -> Scales:
    """The scales that span ``ranges``, widened where integer kernels need it."""
    owners, shared = placement.owners, placement.shared
    fixed = fixed_scales(folded, owners, ranges)
    ranges = ranges | {name: _span(scale) for name, scale in fixed.items()}
    ranges |= {name: _union([ranges[n] for n in group]) for group in shared for name in group}
    activations = {name: activation_scale(*span) for name, span in ranges.items()} | fixed
    weights: dict[str, tuple[float, ...]] = {}
    products, functions = set(product_names(folded)), functions_of(folded).keys()
    tied = {name: names for names in placement.tied for name in names}
    reads = {n.name: owners[n.all_input_nodes[0]].name for n in owners if n.name in placement.int8}
    for node in placement.integer_steps:
        owner = owners[node]
        # The real value of one count of the integer sum that the step adds up.
        sources = [activations[owners[n].name].scale for n in node.all_input_nodes if n in owners]
        count = math.prod(sources) if node.name in products else sources[0]
        if node.name in functions:
            count /= FUNCTION_COUNTS
        if node.name in placement.int8:
            if node.name not in weights:
                readers = tied.get(node.name, (node.name,))
                smallest = min(activations[reads[name]].scale for name in readers)
                found = _scales_of_weight(folded, readers, smallest, weight_ranges)
                weights |= dict.fromkeys(readers, found)
            count *= max(weights[node.name])
        least = float(np.float32(count / LARGEST_GAIN))
        if activations[owner.name].scale < least:
            activations[owner.name] = activation_scale(*ranges[owner.name], scale=least)
    for group in shared:
        largest = max(activations[name].scale for name in group)
        activations |= {n: activation_scale(*ranges[n], scale=largest) for n in group}
    for group in connected([*placement.additions, *shared]):
        if any(group & names for names in placement.additions):
            activations |= align({name: activations[name] for name in sorted(group)}, ranges)
    activations |= rounded_alike(folded, placement, activations, ranges)
    activations |= clear_of_ties(folded, placement, activations, ranges)
    return Scales(activations, weights, placement.fp32)


def _scales_of_weight(
    folded: fx.GraphModule, readers: Sequence[str], input_scale: float, ranges: WeightRanges
) -> tuple[float, ...]:
    """The scales of a weight that one or several layers read, wide enough for each bias."""
    layers = [folded.get_submodule(name) for name in readers]
    biases = {id(layer.bias): layer for layer in layers}.values()
    found = []
    for layer in biases:
        assert isinstance(layer, Layer)
        scales = weight_scales(layer.weight, layer.bias, input_scale=input_scale, ranges=ranges)
        found.append(scales)
    return tuple(torch.stack(found).amax(0).tolist())


def _span(scale: ActivationScale) -> Range:
    return (
        (LOWEST - scale.zero_point) * scale.scale,
        (HIGHEST - scale.zero_point) * scale.scale,
    )


def _union(spans: list[Range]) -> Range:
    lows, highs = zip(*spans, strict=True)
    return min(lows), max(highs)
