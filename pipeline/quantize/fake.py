"""Imitate int8 in torch: the reference of every int8 file, and the module that is exported."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.joins import requantised
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.scales import (
    HIGHEST,
    LOWEST,
    WEIGHT_HIGHEST,
    ActivationScale,
    Scales,
)


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

    Weights beyond the codes are clipped to them. The files hold the bias as int32 codes worth
    input scale × weight scale; it is rounded to them here too, because left alone it moves some
    outputs of every layer to the next code. The layer keeps its own number, as another layer with
    another input may share it.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self,
        layer: Layer,
        scales: tuple[float, ...],
        *,
        input_scale: float,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.input_scale = input_scale
        self.register_buffer("scale", torch.tensor(scales, dtype=torch.float32))
        self.register_buffer("zero_point", torch.zeros(len(scales), dtype=torch.int32))
        with torch.no_grad():
            layer.weight.copy_(self.clipped_weight())

    def clipped_weight(self) -> Tensor:
        """The weight as far as there are codes for it."""
        limit = WEIGHT_HIGHEST * self.scale.reshape(-1, *[1] * (self.layer.weight.ndim - 1))
        return self.layer.weight.clamp(-limit, limit)

    @torch.no_grad()
    def round_bias(self) -> None:
        """Put the bias on its codes."""
        if self.layer.bias is not None:
            unit = self.scale.double() * self.input_scale
            self.layer.bias.copy_(torch.round(self.layer.bias / unit) * unit)

    def rounded_weight(self) -> Tensor:
        """The weight as the files will hold it, in float."""
        # The exporter knows the full range only; −128 does not occur, as weights were clipped.
        rounded: Tensor = torch.fake_quantize_per_channel_affine(
            self.layer.weight, self.scale, self.zero_point, 0, LOWEST, HIGHEST
        )
        return rounded

    def rounded_bias(self) -> Tensor | None:
        """The bias as the files will hold it, in float."""
        bias = self.layer.bias
        if bias is None:
            return None
        unit = self.scale.double() * self.input_scale
        rounded = (torch.round(bias.detach() / unit) * unit).float()
        return bias + (rounded - bias).detach()  # the gradient passes straight through

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.rounded_weight(), self.rounded_bias()
        if not isinstance(self.layer, nn.Linear):
            mapped: Tensor = self.layer._conv_forward(x, weight, bias)
            return mapped
        return F.linear(x, weight, bias)


def fake_quantized(folded: fx.GraphModule, scales: Scales) -> fx.GraphModule:
    """A copy of a folded network (`fold_bn`) with every tensor rounded as int8 would round it.

    The rounding after step ``x`` is the submodule ``x_int8``.

    Raises:
        InputError: ``scales`` are of another network.
    """
    folded = requantised(copy.deepcopy(folded), scales.weights)
    placement = place(folded, keep_fp32=scales.fp32)
    owners, names = placement.owners, placement.rounded
    _expect_names("activation", set(names), set(scales.activations))
    _expect_names("weight", set(placement.int8), set(scales.weights))

    for node, name in [(n, n.name) for n in owners if n.name in placement.int8]:
        layer = folded.get_submodule(name)
        assert isinstance(layer, Layer)
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
