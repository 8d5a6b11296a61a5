"""The cost of a network whose channels are kept with some probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeticket.pipeline.prune.channel_group import ChannelGroup, Span
from edgeticket.pipeline.prune.cost import layer_macs, product_macs


@dataclass(frozen=True, eq=False)
class ExpectedCost:
    """Cost as a differentiable function of the probability that each channel is kept.

    Layer l costs ``products[l]`` × kept share of its outputs × kept share of its inputs +
    ``rows[l]`` × kept share of its outputs. Shares are affine in the probabilities p of all
    channels of all groups: ``out_constant + out_matrix @ p``, and so for inputs. Channels are
    taken as independent; for probabilities of 0 and 1 the cost is exact.
    """

    products: Tensor  # [layers]
    rows: Tensor  # [layers]
    out_constant: Tensor  # [layers]
    out_matrix: Tensor  # [layers, channels]
    in_constant: Tensor
    in_matrix: Tensor

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Probabilities [channels], the groups' one after the other -> the cost, one number."""
        outputs = self.out_constant + self.out_matrix @ probabilities
        inputs = self.in_constant + self.in_matrix @ probabilities
        return (outputs * (self.products * inputs + self.rows)).sum()

    def to(self, device: torch.device) -> ExpectedCost:
        """The same function on another device."""
        return ExpectedCost(*(getattr(self, name).to(device) for name in self.__annotations__))


def expected_macs(
    module: nn.Module, groups: Sequence[ChannelGroup], input_shape: tuple[int, ...]
) -> ExpectedCost:
    """Multiply-accumulates for one input."""
    terms = {name: (float(n), 0.0) for name, n in layer_macs(module, input_shape).items()}
    products = product_macs(module, input_shape)
    for group in groups:
        if group.heads:  # each head multiplies two pairs of matrices of one size
            [values] = group.last_producers
            terms[values] = (terms[values][0], float(products.pop(group.name)))
    for name, n in products.items():
        terms[f"{name} products"] = (float(n), 0.0)  # no group meets it, so it costs what it costs
    return _build(module, groups, terms)


def expected_parameters(
    module: nn.Module, groups: Sequence[ChannelGroup], _input_shape: tuple[int, ...]
) -> ExpectedCost:
    """Parameters, biases and batch norm's included."""
    terms: dict[str, tuple[float, float]] = {}
    for name, layer in module.named_modules():
        tensors = dict(layer.named_parameters(recurse=False))
        matrix = float(sum(p.numel() for p in tensors.values() if p.ndim > 1))
        vector = float(sum(p.numel() for p in tensors.values() if p.ndim <= 1))
        if tensors:
            terms[name] = (matrix, vector)
    return _build(module, groups, terms)


def _build(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    terms: dict[str, tuple[float, float]],
) -> ExpectedCost:
    channels = sum(group.width for group in groups)
    layers = list(terms)
    products, rows = torch.tensor([terms[layer] for layer in layers], dtype=torch.float64).T
    out_constant, in_constant = torch.ones(2, len(layers), dtype=torch.float64)
    out_matrix, in_matrix = torch.zeros(2, len(layers), channels, dtype=torch.float64)

    def meet(layer: str, span: Span, first: int, constant: Tensor, matrix: Tensor, n: int) -> None:
        if layer not in terms:
            return
        row = layers.index(layer)
        constant[row] -= len(span.indices) / n
        share = torch.full((len(span.channels),), 1 / n, dtype=torch.float64)
        matrix[row].index_add_(0, first + torch.tensor(span.channels), share)

    first = 0
    for group in groups:
        for layer, span in group.producers.items():
            width = len(module.get_parameter(f"{layer}.weight"))
            meet(layer, span, first, out_constant, out_matrix, width)
        for layer, span in group.consumers.items():
            width = module.get_parameter(f"{layer}.weight").shape[1]
            meet(layer, span, first, in_constant, in_matrix, width)
        first += group.width
    return ExpectedCost(products, rows, out_constant, out_matrix, in_constant, in_matrix)


EXPECTED = {"macs": expected_macs, "parameters": expected_parameters}
