"""Quantisation-aware training: modules to train, and what they become.

What is trained is the folded graph, the very arithmetic that is deployed: batch normalisation is
folded before, not during, training. Its statistics were settled when the network was trained;
keeping them would train a network that the files do not hold, and simulate them twice a step
(Jacob et al. 2018, 3.2). Ranges move first, every tensor for itself. Then they are fixed, where
the kernels need it on a common grid (`align`), and the rest of the training is spent with exactly
the scales that are exported.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection

import torch
from torch import Tensor, fx, nn

from edgeticket.pipeline.graph.graph import Arranged
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.calibration import scales_of
from edgeticket.pipeline.quantize.fake import QuantizedLayer, fake_quantized
from edgeticket.pipeline.quantize.learned import (
    AveragedQuantize,
    FixedLayer,
    FollowingLayer,
    LearnedQuantize,
)
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.ptq import Quantized
from edgeticket.pipeline.recipe import Qat

MOVING = {"learned": LearnedQuantize, "averaged": AveragedQuantize}


def moving(start: Quantized, cfg: Qat) -> fx.GraphModule:
    """A module to train whose ranges start at those of ``start`` and move as ``cfg`` says."""
    module = fake_quantized(start.folded, start.scales)
    owners = place(start.folded, keep_fp32=start.scales.fp32).owners
    layers = [node for node in owners if node.name in start.scales.weights]
    sources = {node.name: owners[node.all_input_nodes[0]].name for node in layers}
    for name, scale in start.scales.activations.items():
        module.set_submodule(f"{name}_int8", MOVING[cfg.ranges](scale))
    for name in start.scales.weights:
        layer = module.get_submodule(name)
        assert isinstance(layer, QuantizedLayer)
        source = module.get_submodule(f"{sources[name]}_int8")
        module.set_submodule(name, FollowingLayer(layer, source))
    _keep_arranged(module, start.folded)
    return module


def range_rates(module: nn.Module, cfg: Qat) -> dict[str, float]:
    """Parameter -> Adam's rate, for the ranges that are parameters.

    A logarithm of a scale moves by shares of the range, a zero point by codes.
    """
    rates = {}
    for name, step in module.named_modules():
        if isinstance(step, LearnedQuantize):
            rates[f"{name}.log_scale"] = cfg.range_lr
            rates[f"{name}.zero_point"] = cfg.range_lr * 255
    return rates


@torch.no_grad()
def settle(module: fx.GraphModule, start: Quantized) -> Quantized:
    """What `moving` ranges have come to: aligned where they must be, spanning at least as much."""
    folded = _with_layers(module, start)
    ranges = {}
    for name in start.scales.activations:
        step = module.get_submodule(f"{name}_int8")
        assert isinstance(step, LearnedQuantize | AveragedQuantize)
        ranges[name] = step.span()
    placement = place(folded, keep_fp32=start.scales.fp32)
    return Quantized(folded, scales_of(folded, placement, ranges))


def fixed(settled: Quantized) -> fx.GraphModule:
    """A module to train with the scales of ``settled``, as the files will hold them."""
    module = fake_quantized(settled.folded, settled.scales)
    for name in settled.scales.weights:
        layer = module.get_submodule(name)
        assert isinstance(layer, QuantizedLayer)
        module.set_submodule(name, FixedLayer(layer))
    _keep_arranged(module, settled.folded)
    return module


def _keep_arranged(module: fx.GraphModule, folded: fx.GraphModule) -> None:
    """Train a layer that is a transposed convolution as that: zeros stay, copies of a bias are one.

    The gradients see to it, since every optimizer here moves alike what was alike.
    """
    for node in folded.graph.nodes:
        arranged: Arranged | None = node.meta.get("arranged")
        if arranged is None:
            continue
        step = module.get_submodule(node.name)
        layer = step.layer if isinstance(step, QuantizedLayer) else step
        assert isinstance(layer, Layer)
        stored = torch.from_numpy(arranged.places >= 0)
        _change_gradient(layer.weight, functools.partial(_where, stored))
        if layer.bias is not None:
            _change_gradient(layer.bias, functools.partial(_mean_of_copies, arranged.copies))


def _change_gradient(parameter: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    parameter.register_hook(change)  # type: ignore[no-untyped-call]


def _where(stored: Tensor, gradient: Tensor) -> Tensor:
    return gradient * stored.to(gradient.device)


def _mean_of_copies(copies: int, gradient: Tensor) -> Tensor:
    return gradient.view(copies, -1).mean(0).repeat(copies)


def freeze(module: fx.GraphModule, layers: Collection[str]) -> fx.GraphModule:
    """Keep the weights and biases of these layers as they are -> ``module``."""
    for name in layers:
        module.get_submodule(name).requires_grad_(False)
    return module


@torch.no_grad()
def finish(module: fx.GraphModule, settled: Quantized) -> Quantized:
    """What `fixed` has been trained to: weights and biases on their codes, the scales as given.

    Frozen layers are not moved onto their codes: files round them. Nor is a bias of several copies,
    which have codes of their own.
    """
    for node in settled.folded.graph.nodes:
        step = module.get_submodule(node.name) if node.op == "call_module" else None
        if isinstance(step, FixedLayer) and step.layer.weight.requires_grad:
            step.layer.weight.copy_(step.rounded_weight())
            if "arranged" not in node.meta:
                step.round_bias()
    return Quantized(_with_layers(module, settled), settled.scales)


def _with_layers(module: fx.GraphModule, start: Quantized) -> fx.GraphModule:
    """The folded graph of ``start`` with the weights that ``module`` has by now."""
    folded = copy.deepcopy(start.folded)
    for name in (*start.scales.weights, *start.scales.fp32):
        step = module.get_submodule(name)
        layer = step.layer if isinstance(step, QuantizedLayer) else step
        if all(not parameter.requires_grad for parameter in layer.parameters()):
            continue  # also not clipped
        folded.get_submodule(name).load_state_dict(layer.state_dict())
    with torch.no_grad():
        for name, parameter in folded.named_parameters(recurse=False):  # of norms, and the like
            parameter.copy_(module.get_parameter(name))
    return folded
