"""Weights of a folded graph back into the network that it was folded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.graph.graph import Operator
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
    write_layers(module, fold_bn(module, network.input_shape), folded)
    return network.with_weights(module)


def write_layers(module: nn.Module, original: fx.GraphModule, folded: fx.GraphModule) -> None:
    """Put the weights of ``folded`` into ``module``, whose own folding is ``original``."""
    written: dict[str, str] = {}  # module path -> the step that it got its weights from
    nodes = {node.name: node for node in original.graph.nodes}
    for name in layer_names(original):
        source, target = folded.get_submodule(name), _origin(nodes[name])
        assert isinstance(source, Layer)
        layer = module.get_submodule(target.module)
        if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            _write_by_name(module, nodes[name].meta["operator"], source)
            continue
        if target.module in written:
            _expect_same(folded, written[target.module], name)
        written[target.module] = name
        if not isinstance(layer, Layer):
            raise _unknown(name, target.module or "its own")
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


@torch.no_grad()
def _write_by_name(module: nn.Module, operator: Operator, source: Layer) -> None:
    """The weights of one of several layers that a module was made into: a recurrent one.

    Constants are called after parameters, a sum of two after both: the first becomes the sum.
    """
    parameters = dict(module.named_parameters())
    for name, tensor in zip(operator.inputs[1:], (source.weight, source.bias), strict=False):
        first, _, second = name.partition("_and_")
        if first in parameters and tensor is not None:
            parameters[first].copy_(tensor)
        if second:
            parameters[f"{first.rpartition('.')[0]}.{second}".lstrip(".")].zero_()


@dataclass(frozen=True)
class Origin:
    """Paths of the modules that a layer of a folded graph was made of."""

    module: str
    norm: str | None


def origin_of(folded: fx.GraphModule, name: str) -> Origin:
    """Where the layer ``name`` of a graph that `fold_bn` made came from."""
    (node,) = (n for n in folded.graph.nodes if n.name == name)
    return _origin(node)


def _origin(node: fx.Node) -> Origin:
    meta: Mapping[str, str] = node.meta
    if "factor" in meta or ("norm" in meta and "module" not in meta):
        raise _unknown(node.name, meta.get("factor", "of a norm"))
    return Origin(meta.get("module", ""), meta.get("norm"))


def _unknown(name: str, numbers: str) -> InputError:
    return InputError(
        f"{name} has stored numbers of the network in it ({numbers}), so that its weights cannot "
        "be written back: use ptq with its defaults"
    )


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
