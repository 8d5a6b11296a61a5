"""Where the weights of a folded layer are stored in the network that it was folded from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import Arranged, Operator, Scaled
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.placement import layer_names

Norm = nn.BatchNorm1d | nn.BatchNorm2d

CLOSE = 1e-5  # how near weights come to those that were given, where they are computed from others


@dataclass(frozen=True, eq=False)
class Destination:
    """What holds the weights of a layer, and what stands between.

    weight, bias: parameters as they are stored; both None where the norm is the whole layer.
    second_bias: is added to ``bias``, as that of recurrent layers.
    computing: the module that computes its weight from other parameters, such as weight_norm.
    norm: behind it, or the layer itself.
    scaled: by what the network multiplies the layer's output.
    arranged: where in ``weight`` each number of the layer's weight is.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None = None
    second_bias: nn.Parameter | None = None
    computing: nn.Module | None = None
    norm: Norm | None = None
    scaled: Scaled | None = None
    arranged: Arranged | None = None

    def spread(self, kept: Tensor) -> Tensor:
        """A mask of the stored weight -> that of the layer's weight."""
        if self.arranged is None:
            return kept
        places = torch.from_numpy(self.arranged.places)
        return (places >= 0) & kept.flatten()[places.clamp(min=0)]

    def same_place(self, other: Destination) -> bool:
        """Whether writing both would write one place twice."""
        ours = (self.weight, self.bias, self.computing, self.norm)
        theirs = (other.weight, other.bias, other.computing, other.norm)
        return any(a is not None and a is b for a, b in zip(ours, theirs, strict=True))

    @torch.no_grad()
    def write(self, source: Layer) -> None:
        """Store what gives the weights of ``source`` when it is folded."""
        weight = source.weight.detach()
        bias = None if source.bias is None else source.bias.detach()
        if self.weight is None and self.computing is None:
            assert self.norm is not None
            assert bias is not None
            _become_affine(self.norm, weight.flatten(), bias)
            return
        if self.arranged is not None:
            weight = torch.from_numpy(self.arranged.gathered(weight.numpy()))
            if bias is not None:
                bias = bias.reshape(self.arranged.copies, -1).double().mean(0).float()
        if self.scaled is not None:
            weight, bias = self._unscaled(weight, bias, self.scaled)
        if self.norm is not None:
            assert bias is not None
            _become_bias(self.norm, bias)
            bias = torch.zeros_like(bias)
        if self.computing is not None:
            _compute(self.computing, weight)
        else:
            self.stored().copy_(weight)
        if self.bias is not None:
            assert bias is not None
            self.bias.copy_(bias)
        if self.second_bias is not None:
            self.second_bias.zero_()

    def stored(self) -> Tensor:
        """The weight as the network has it."""
        if self.computing is not None:
            return _weight_of(self.computing)
        assert self.weight is not None
        return self.weight

    def _unscaled(
        self, weight: Tensor, bias: Tensor | None, scaled: Scaled
    ) -> tuple[Tensor, Tensor | None]:
        """Weight and bias before the output was scaled; by 0: those that are stored."""
        factor, shift = (torch.from_numpy(a.copy()) for a in (scaled.factor, scaled.shift))
        kept = self.stored().detach().double()
        column = factor.reshape(-1, *[1] * (weight.ndim - 1))
        if self.arranged is not None:  # [inputs, outputs / group, ...]
            groups = self.arranged.groups
            column = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
            column = column.expand(groups, len(kept) // groups, -1, *[1] * (weight.ndim - 2))
            column = column.reshape(len(kept), -1, *[1] * (weight.ndim - 2))
        weight = torch.where(column == 0, kept, weight.double() / column)
        if bias is not None:
            moved = (bias.double() - shift) / factor
            bias = torch.where(factor == 0, torch.zeros_like(moved), moved).float()
        return weight.float(), bias


def destinations(
    module: nn.Module, original: fx.GraphModule
) -> dict[str, Destination | InputError]:
    """Layer of ``original``, the folding of ``module`` -> where its weights go, or why nowhere.

    Two layers that are one part of the network, but not one weight when folded (a convolution that
    is called twice, each time with another norm behind it), go nowhere.
    """
    nodes = {node.name: node for node in original.graph.nodes}
    found: dict[str, Destination | InputError] = {}
    read_otherwise = {n.meta["constant"] for n in nodes.values() if n.op == "get_attr"}
    for name in layer_names(original):
        step = original.get_submodule(name)
        assert isinstance(step, Layer)
        place = _place(module, nodes[name], step)
        operator: Operator = nodes[name].meta["operator"]
        if place is None or read_otherwise.intersection(operator.inputs[1:]):
            origin = origin_of(original, name)
            of = origin.module or origin.norm or "the network itself"
            found[name] = InputError(
                f"the weights of {name} cannot be written back: {of} is no layer that stores them "
                "as they are; use ptq with rounding: nearest, without equalise and bias_correction"
            )
        else:
            found[name] = place
    for names in _clashes(original, found):
        for name in names:
            found[name] = InputError(
                f"the weights of {name} cannot be written back: {' and '.join(names)} are one part "
                "of the network with unlike weights when norms and factors are in them"
            )
    return found


def _place(module: nn.Module, node: fx.Node, step: Layer) -> Destination | None:
    path, norm_path = node.meta.get("module", ""), node.meta.get("norm")
    layer = module.get_submodule(path) if path else None
    norm = module.get_submodule(norm_path) if norm_path else None
    scaled: Scaled | None = node.meta.get("scaled")
    arranged: Arranged | None = node.meta.get("arranged")
    if norm is not None and not (isinstance(norm, Norm) and norm.running_mean is not None):
        return None
    if layer is None and norm is not None and arranged is None and scaled is None:
        return Destination(None, norm=norm) if _is_norm(step, norm) else None
    shape = step.weight.shape if arranged is None else arranged.shape
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if layer is not None and isinstance(weight, Tensor) and weight.shape == shape:
        if step.bias is not None and norm is None and bias is None:
            return None
        if isinstance(weight, nn.Parameter):
            return Destination(weight, bias, None, None, norm, scaled, arranged)
        if _can_compute(layer):
            return Destination(None, bias, None, layer, norm, scaled, arranged)
        return None
    if norm is not None or scaled is not None or arranged is not None:
        return None
    return _by_name(dict(module.named_parameters()), node.meta["operator"], step)


def _by_name(
    parameters: Mapping[str, nn.Parameter], operator: Operator, step: Layer
) -> Destination | None:
    """Parameters of modules that are made into several layers: attention, recurrent ones.

    Constants are called after parameters, a sum of two after both: the first becomes the sum.
    """
    weight_name, *bias_name = operator.inputs[1:]
    weight = parameters.get(weight_name)
    if (
        weight is None
        or weight.shape != step.weight.shape
        or (step.bias is None) == bool(bias_name)
    ):
        return None
    if not bias_name:
        return Destination(weight)
    first, _, second = bias_name[0].partition("_and_")
    bias = parameters.get(first)
    other = parameters.get(f"{first.rpartition('.')[0]}.{second}".lstrip(".")) if second else None
    if (
        bias is None
        or step.bias is None
        or bias.shape != step.bias.shape
        or bool(second) != (other is not None)
    ):
        return None
    return Destination(weight, bias, other)


def _is_norm(step: Layer, norm: Norm) -> bool:
    """Whether a convolution of each channel by itself is this norm alone, with parameters."""
    assert norm.running_var is not None
    if not norm.affine or step.weight.numel() != norm.num_features:
        return False
    factor = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    return torch.allclose(step.weight.detach().flatten(), factor, rtol=CLOSE, atol=0)


def _can_compute(layer: nn.Module) -> bool:
    """Whether parameters can be found that ``layer`` computes any weight from; it is as before."""
    stored = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    wanted = 1.5 * _weight_of(layer)  # which spectral_norm, for one, does not compute
    try:
        _compute(layer, wanted)
        error = (_weight_of(layer) - wanted).abs().amax()
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    finally:
        layer.load_state_dict(stored)
    return bool(error <= CLOSE * wanted.abs().amax())


def _weight_of(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


@torch.no_grad()
def _compute(layer: nn.Module, weight: Tensor) -> None:
    """Set what ``layer`` computes its weight from.

    Raises:
        NotImplementedError: it is not known how.
    """
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = weight  # by the inverse of what computes it
        return
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == "weight":
            layer.get_parameter("weight_g").copy_(torch.norm_except_dim(weight, 2, hook.dim))
            layer.get_parameter("weight_v").copy_(weight)
            layer.weight = hook.compute_weight(layer)
            return
    raise NotImplementedError


def _clashes(
    original: fx.GraphModule, found: Mapping[str, Destination | InputError]
) -> Iterator[list[str]]:
    """Layers that would be written to one place, but are trained apart."""
    places = {name: place for name, place in found.items() if isinstance(place, Destination)}
    groups: list[list[str]] = []
    for name, place in places.items():
        for group in groups:
            first = places[group[0]]
            if place.same_place(first):
                group.append(name)
                break
        else:
            groups.append([name])
    for group in groups:
        layers = [original.get_submodule(name) for name in group]
        if len({(id(layer.weight), id(layer.bias)) for layer in layers}) > 1:
            yield group


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


def _become_bias(norm: Norm, bias: Tensor) -> None:
    """Make a BatchNorm in evaluation mode x + bias, without the last bit of an error."""
    _become_identity(norm)
    assert norm.running_mean is not None
    norm.running_mean.copy_(-bias)  # not its own bias, which it may not have


def _become_affine(norm: Norm, factor: Tensor, shift: Tensor) -> None:
    """Make a BatchNorm in evaluation mode factor · x + shift."""
    _become_identity(norm)
    norm.weight.copy_(factor)
    norm.bias.copy_(shift)


def _become_identity(norm: Norm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
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
