"""The cost of a network whose channels are kept with some probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeticket.models.network import Takes
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


def expected_macs(module: nn.Module, groups: Sequence[ChannelGroup], takes: Takes) -> ExpectedCost:
    """Multiply-accumulates for one input."""
    terms = {name: (float(n), 0.0) for name, n in layer_macs(module, takes).items()}
    products = product_macs(module, takes)
    for group in groups:
        if group.heads:  # each head multiplies two pairs of matrices of one size
            [values] = group.last_producers
            terms[values] = (terms[values][0], float(products.pop(group.name)))
    for name, n in products.items():
        terms[f"{name} products"] = (float(n), 0.0)  # no group meets it, so it costs what it costs
    return _build(module, groups, terms)


def expected_parameters(
    module: nn.Module, groups: Sequence[ChannelGroup], _takes: Takes
) -> ExpectedCost:
    """Parameters, biases and batch norm's included."""
    terms: dict[str, tuple[float, float]] = {}
    for name, layer in module.named_modules():
        tensors = dict(layer.named_parameters(recurse=False))
        if tensors.keys() <= {"weight", "bias"}:
            matrix = float(sum(p.numel() for p in tensors.values() if p.ndim > 1))
            vector = float(sum(p.numel() for p in tensors.values() if p.ndim <= 1))
            if tensors:
                terms[name] = (matrix, vector)
            continue
        for leaf, tensor in tensors.items():
            terms[f"{name}.{leaf}".lstrip(".")] = (float(tensor.numel()), 0.0)
    return _build(module, groups, terms)


def _build(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    terms: dict[str, tuple[float, float]],
) -> ExpectedCost:
    """``terms``: of layers, whose weight and bias lose rows together, and of other tensors."""
    channels = sum(group.width for group in groups)
    rows_of = {layer: i for i, layer in enumerate(terms)}
    products, rows = torch.tensor(list(terms.values()), dtype=torch.float64).reshape(-1, 2).T
    out_constant, in_constant = torch.ones(2, len(terms), dtype=torch.float64)
    out_matrix, in_matrix = torch.zeros(2, len(terms), channels, dtype=torch.float64)
    shapes = {name: tensor.shape for name, tensor in module.named_parameters()}

    def meet(row: int, span: Span, first: int, constant: Tensor, matrix: Tensor, n: int) -> None:
        constant[row] -= len(span.indices) / n
        share = torch.full((len(span.channels),), 1 / n, dtype=torch.float64)
        matrix[row].index_add_(0, first + torch.tensor(span.channels), share)

    first = 0
    for group in groups:
        for cut in group.cuts:
            layer, _, leaf = cut.tensor.rpartition(".")
            term = cut.tensor if cut.tensor in terms else layer
            # A bias has the rows of its weight, and an alias is counted once.
            is_part = term == layer and leaf == "bias" and f"{layer}.weight".lstrip(".") in shapes
            if term not in terms or is_part or cut.tensor not in shapes:
                continue
            size = shapes[cut.tensor][cut.axis]
            outer = cut.writes or len(shapes[cut.tensor]) < 2
            sides = (out_constant, out_matrix) if outer else (in_constant, in_matrix)
            meet(rows_of[term], cut.span, first, *sides, size)
        first += group.width
    return ExpectedCost(products, rows, out_constant, out_matrix, in_constant, in_matrix)


EXPECTED = {"macs": expected_macs, "parameters": expected_parameters}
