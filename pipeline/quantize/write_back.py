"""Weights of a folded graph back into the network that it was folded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.graph.graph import Operator, Scaled
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.network.layers import Recurrent
from edgeticket.pipeline.quantize.fold import fold_bn
from edgeticket.pipeline.quantize.placement import layer_names

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def unfold(network: Network, folded: fx.GraphModule) -> Network:
    """``network`` with the weights of ``folded``, a graph of the same names as its own folding.

    Batch normalisation becomes the identity plus the layer's bias, so that folding the result
    gives the weights of ``folded`` to the last bit; a layer whose output the network scales by
    stored numbers gets them divided by those, which is right but for the last bit. Layers whose
    weights are as they were, stay.

    Raises:
        InputError: a layer that the network calls twice has got two different weights; one has new
            weights whose place in the network is unknown.
    """
    module = network.module()
    write_layers(module, fold_bn(module, network.input_shapes), folded)
    return network.with_weights(module)


def write_layers(module: nn.Module, original: fx.GraphModule, folded: fx.GraphModule) -> None:
    """Put the weights of ``folded`` into ``module``, whose own folding is ``original``."""
    nodes = {node.name: node for node in original.graph.nodes}
    names: dict[str, list[str]] = {}  # module path -> the steps that it is
    for name in layer_names(original):
        names.setdefault(origin_of(original, name).module, []).append(name)
    for path, (first, *others) in names.items():
        if all(_are_equal(original, folded, name) for name in (first, *others)):
            continue
        if path and isinstance(module.get_submodule(path), Recurrent):
            for name in (first, *others):
                _write_by_name(module, nodes[name].meta["operator"], folded.get_submodule(name))
            continue
        for name in (first, *others):
            layer, norm = _target(module, original, name)
            _expect_same(folded, first, name)
        source = folded.get_submodule(first)
        assert isinstance(source, Layer)
        _write(*_unscaled(source, layer, nodes[first].meta.get("scaled")), layer, norm)
    _write_constants(folded, module)


@torch.no_grad()
def _write_by_name(module: nn.Module, operator: Operator, source: nn.Module) -> None:
    """The weights of one of several layers that a module was made into: a recurrent one.

    Constants are called after parameters, a sum of two after both: the first becomes the sum.
    """
    assert isinstance(source, Layer)
    parameters = dict(module.named_parameters())
    for name, tensor in zip(operator.inputs[1:], (source.weight, source.bias), strict=False):
        first, _, second = name.partition("_and_")
        if first in parameters and tensor is not None:
            parameters[first].copy_(tensor)
        if second:
            parameters[f"{first.rpartition('.')[0]}.{second}".lstrip(".")].zero_()


def expect_unfoldable(network: Network) -> None:
    """Refuse a network with layers that `unfold` can give no new weights.

    Raises:
        InputError: the first such layer, and what to do instead.
    """
    for error in _obstacles(network).values():
        raise error


def stuck_layers(network: Network) -> frozenset[str]:
    """Layers of the folded network that `unfold` can give no new weights, by name."""
    return frozenset(_obstacles(network))


def _obstacles(network: Network) -> dict[str, InputError]:
    module = network.module()
    original = fold_bn(module, network.input_shapes)
    obstacles = {}
    for name in layer_names(original):
        path = origin_of(original, name).module
        if path and isinstance(module.get_submodule(path), Recurrent):
            continue
        try:
            _target(module, original, name)
        except InputError as error:
            obstacles[name] = error
    return obstacles


def _unscaled(source: Layer, layer: Layer, scaled: Scaled | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of ``source`` before its output was scaled; by 0: those of ``layer``."""
    weight, bias = source.weight.detach(), source.bias
    if scaled is None:
        return weight, bias
    factor, shift = torch.from_numpy(scaled.factor.copy()), torch.from_numpy(scaled.shift.copy())
    column = factor.reshape(-1, *[1] * (weight.ndim - 1))
    kept = layer.weight.detach().double()
    weight = torch.where(column == 0, kept, weight.double() / column)
    if bias is not None:
        moved = (bias.detach().double() - shift) / factor
        bias = torch.where(factor == 0, torch.zeros_like(moved), moved).float()
    return weight.float(), bias


@torch.no_grad()
def _write(weight: Tensor, bias: Tensor | None, layer: Layer, norm: Norm | None) -> None:
    layer.weight.copy_(weight)
    if norm is not None:
        assert bias is not None
        _become_bias(norm, bias)
        bias = torch.zeros_like(bias)
    if layer.bias is not None:
        assert bias is not None
        layer.bias.copy_(bias)


@torch.no_grad()
def _write_constants(folded: fx.GraphModule, module: nn.Module) -> None:
    """Parameters that are no layer's: of norms, and the like."""
    for node in folded.graph.nodes:
        if node.op == "get_attr":
            tensor = getattr(folded, str(node.target))
            if isinstance(tensor, nn.Parameter):
                module.get_parameter(node.meta["constant"]).copy_(tensor)


def _target(module: nn.Module, original: fx.GraphModule, name: str) -> tuple[Layer, Norm | None]:
    """The modules that the layer ``name`` was made of, if its weights can be written there."""
    origin, step = origin_of(original, name), original.get_submodule(name)
    layer = module.get_submodule(origin.module) if origin.module else None
    norm = module.get_submodule(origin.norm) if origin.norm else None
    assert isinstance(step, Layer)
    if (
        isinstance(layer, Layer)
        and layer.weight.shape == step.weight.shape
        and "weight" in layer._parameters  # not computed, as that of weight_norm is
        and (norm is None or (isinstance(norm, Norm) and norm.running_mean is not None))
        and (step.bias is None or norm is not None or layer.bias is not None)
    ):
        return layer, norm
    of = origin.module or origin.norm or "the network itself"
    raise InputError(
        f"the weights of {name} cannot be written back: {of} is no layer that stores them as they "
        "are; use ptq with rounding: nearest, without equalise and bias_correction"
    )


def _are_equal(original: fx.GraphModule, folded: fx.GraphModule, name: str) -> bool:
    before, after = (m.get_submodule(name).state_dict() for m in (original, folded))
    return all(torch.equal(before[key], after[key]) for key in before)


@dataclass(frozen=True)
class Origin:
    """Paths of the modules that a layer of a folded graph was made of; "" where there is none."""

    module: str
    norm: str | None


def origin_of(folded: fx.GraphModule, name: str) -> Origin:
    """Where the layer ``name`` of a graph that `fold_bn` made came from."""
    (node,) = (n for n in folded.graph.nodes if n.name == name)
    meta: Mapping[str, str] = node.meta
    return Origin(meta.get("module", ""), meta.get("norm"))


def _become_bias(norm: Norm, bias: torch.Tensor) -> None:
    """Make a BatchNorm in evaluation mode x + bias, without the last bit of an error."""
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
