"""Products in sums, and functions with tables, in codes that both runtimes round alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeticket.pipeline.quantize import calibrate, fold_bn
from edgeticket.pipeline.quantize.alike import _parted
from edgeticket.pipeline.quantize.scales import ActivationScale
from edgeticket.pipeline.recipe import Ptq
from tests.fixtures.operator_fixtures import check_int8


class Gate(nn.Module):
    """What a recurrent cell does: a product with a gate, then a sum."""

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[function]

    def forward(self, x: Tensor) -> Tensor:
        gate, other = x[:, :1], x[:, 1:]
        return self.function(gate) * other + other


def all_pairs(low: float, high: float) -> Tensor:
    """One example, [1, 2, 65536], with nearly all pairs of codes of that range in it."""
    values = torch.linspace(low, high, 256)
    return torch.cartesian_prod(values, values).T[None].contiguous()


@pytest.mark.parametrize(
    ("function", "low", "least"),
    [
        *(("sigmoid", low, 1.0) for low in (-3.0, -2.0, -1.3)),
        ("tanh", -2.0, 1.0),
        ("tanh", -1.3, 0.9999),  # no scale near by is clear of both
    ],
)
def test_a_gate_and_a_sum_give_equal_codes_for_all_pairs(
    function: str, low: float, least: float
) -> None:
    assert check_int8(Gate(function), [all_pairs(low, 5.0)]) >= least


def test_zero_points_of_products_are_even_and_sums_stay_aligned() -> None:
    x = all_pairs(-3.0, 5.0)
    folded = fold_bn(Gate("sigmoid"), tuple(x.shape[1:]))
    found = calibrate(folded, [x], Ptq(method="ptq")).activations
    assert found["mul"].zero_point % 2 == 0
    unit = np.gcd.reduce([int(found[name].scale * 2**40) for name in ("mul", "add")])
    assert all(int(found[name].scale * 2**40) / unit % 2 == 1 for name in ("mul", "add"))


def test_a_tie_is_parted_by_an_odd_zero_point_alone() -> None:
    unit = 2122 / 2**20
    gate, other = ActivationScale(1 / 256, -128), ActivationScale(19 * unit, -7)
    assert _parted(gate, other, ActivationScale(17 * unit, -17)) > 0
    assert _parted(gate, other, ActivationScale(17 * unit, -16)) == 0
