"""Weights of a folded graph back into the network that it was folded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.fold import fold_bn
from edgeticket.pipeline.quantize.placement import layer_names


def unfold(network: Network, folded: fx.GraphModule) -> Network:
    """``network`` with the weights of ``folded``, a graph of the same names as its own folding.

    Batch normalisation becomes the identity plus the layer's bias, so that folding the result
    gives the weights of ``folded`` to the last bit.

    Raises:
        InputError: a layer that the network calls twice has got two different weights.
    """
    module = network.module()
    original = fold_bn(module, network.input_shape)
    written: dict[str, str] = {}  # module path -> the step that it got its weights from
    for name in layer_names(original):
        source, target = folded.get_submodule(name), origin_of(original, name)
        layer = module.get_submodule(target.module)
        if target.module in written:
            _expect_same(folded, written[target.module], name)
        written[target.module] = name
        assert isinstance(source, Layer)
        assert isinstance(layer, Layer)
        with torch.no_grad():
            layer.weight.copy_(source.weight)
            bias = source.bias
            if target.norm is not None:
                assert bias is not None
                _become_bias(module.get_submodule(target.norm), bias)
                bias = torch.zeros_like(bias)
            if layer.bias is not None:
                assert bias is not None
                layer.bias.copy_(bias)
    return network.with_weights(module)


@dataclass(frozen=True)
class Origin:
    """Paths of the modules that a layer of a folded graph was made of."""

    module: str
    norm: str | None


def origin_of(folded: fx.GraphModule, name: str) -> Origin:
    """Where the layer ``name`` of a graph that `fold_bn` made came from."""
    (node,) = (n for n in folded.graph.nodes if n.name == name)
    meta: Mapping[str, str] = node.meta
    if "factor" in meta or "module" not in meta:
        raise InputError(
            f"{name} has stored numbers of the network in it ({meta.get('factor', 'of a norm')}), "
            "so that its weights cannot be written back: use ptq with its defaults"
        )
    return Origin(meta["module"], meta.get("norm"))


def _become_bias(norm: nn.Module, bias: torch.Tensor) -> None:
    """Make a BatchNorm in evaluation mode x + bias, without the last bit of an error."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(-bias)  # not its own bias, which it may not have
    norm.running_var.fill_(_variance_of_one(norm.eps))
    if norm.affine:
        norm.weight.fill_(1)
        norm.bias.zero_()


def _variance_of_one(eps: float) -> float:
    """The float32 that is exactly 1 with ``eps`` added."""
    variance = torch.tensor(1.0) - eps
    for _ in range(8):
        total = variance + eps
        if total == 1:
            return float(variance)
        towards = torch.tensor(2.0 if total < 1 else 0.0)
        variance = torch.nextafter(variance, towards)
    raise AssertionError(f"no float32 + {eps} is 1")


def _expect_same(folded: fx.GraphModule, first: str, second: str) -> None:
    a, b = (folded.get_submodule(name).state_dict() for name in (first, second))
    if any(not torch.equal(a[key], b[key]) for key in a):
        raise InputError(
            f"{first} and {second} are one layer that is called twice, and quantisation gave it "
            "two different weights; use two layers, or ptq with its defaults"
        )
