"""Imitate int8 in torch: the reference of every int8 file, and the module that is exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from device_runner.errors import InputError
from pipeline.quantize.fold import fold_bn
from pipeline.quantize.placement import layer_names, scale_owners
from pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, Scales


class FakeQuantize(nn.Module):
    """Round to the nearest of 256 codes, in float; gradients pass straight through."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, activation: ActivationScale) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(activation.scale, dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor(activation.zero_point, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(
            x, self.scale, self.zero_point, LOWEST, HIGHEST
        )
        return rounded


class QuantizedLayer(nn.Module):
    """A convolution or linear layer whose weights are rounded to int8 codes, in float.

    The files hold the bias as int32 codes worth input scale × weight scale; it is rounded to them
    once, here, because left alone it moves some outputs of every layer to the next code.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self,
        layer: nn.Conv1d | nn.Conv2d | nn.Linear,
        scales: tuple[float, ...],
        *,
        input_scale: float,
    ) -> None:
        super().__init__()
        self.layer = layer
        if layer.bias is not None:
            unit = torch.tensor(scales, dtype=torch.float64) * input_scale
            with torch.no_grad():
                layer.bias.copy_(torch.round(layer.bias / unit) * unit)
        self.register_buffer("scale", torch.tensor(scales, dtype=torch.float32))
        self.register_buffer("zero_point", torch.zeros(len(scales), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        # The exporter knows the full range only; −128 does not occur, as scale ≥ max|w| / 127.
        weight = torch.fake_quantize_per_channel_affine(
            self.layer.weight, self.scale, self.zero_point, 0, LOWEST, HIGHEST
        )
        if not isinstance(self.layer, nn.Linear):
            mapped: Tensor = self.layer._conv_forward(x, weight, self.layer.bias)
            return mapped
        return F.linear(x, weight, self.layer.bias)


def fake_quantized(module: nn.Module, scales: Scales) -> fx.GraphModule:
    """The folded network with every tensor rounded as int8 would round it.

    The rounding after step ``x`` is the submodule ``x_int8``.

    Raises:
        InputError: ``scales`` are of another network.
    """
    folded = fold_bn(module)
    owners = scale_owners(folded)
    names = {owner.name for owner in owners.values()}
    layers = set(layer_names(folded))
    _expect_names("activation", names, set(scales.activations))
    _expect_names("weight", layers, set(scales.weights))

    for node, name in [(node, node.name) for node in owners if node.name in layers]:
        layer = folded.get_submodule(name)
        assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
        if len(scales.weights[name]) != len(layer.weight):
            raise InputError(
                f"{name} has {len(layer.weight)} output channels, "
                f"but {len(scales.weights[name])} weight scales were given"
            )
        source = scales.activations[owners[node.all_input_nodes[0]].name]
        quantized = QuantizedLayer(layer, scales.weights[name], input_scale=source.scale)
        folded.set_submodule(name, quantized)
    for node in [n for n in folded.graph.nodes if n.name in names]:
        name = f"{node.name}_int8"
        folded.add_submodule(name, FakeQuantize(scales.activations[node.name]))
        with folded.graph.inserting_after(node):
            rounded = folded.graph.create_node("call_module", name, (node,), name=name)
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user, r=rounded: user is not r)
    folded.recompile()
    return folded


def _expect_names(what: str, needed: set[str], given: set[str]) -> None:
    if needed != given:
        name = sorted(needed ^ given)[0]
        fault = "are missing" if name in needed else "are of no such step"
        raise InputError(f"{what} scales for {name} {fault}: calibrate this network anew")
