"""Scales that keep runtimes from rounding what is computed in float32 to different sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeticket.pipeline.quantize import calibrate, fold_bn
from edgeticket.pipeline.quantize.ties import CLEAR_OF_PARTS, PARTS, RECIPROCAL, _clear_of_parts
from edgeticket.pipeline.recipe import Ptq
from tests.fixtures.operator_fixtures import check_int8


@pytest.mark.parametrize("scale", [0.1, 0.0123, 3.7, 1 / 255])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 0.75, 0.31])
def test_no_part_of_a_code_lies_half_way_between_two(scale: float, ratio: float) -> None:
    source = float(np.float32(scale * ratio))
    clear = _clear_of_parts(float(np.float32(scale)), {source})
    assert scale * (1 - 1e-6) <= clear <= scale * 1.025
    for parts in PARTS:
        codes = np.arange(255 * parts + 1) * (source / parts) / clear
        codes = codes[codes < 255]
        assert np.abs(codes % 1 - 0.5).min() >= CLEAR_OF_PARTS


@pytest.mark.parametrize("scale", [0.1, 0.0123, 3.7, 1 / 255])
def test_dividing_is_multiplying_by_the_reciprocal(scale: float) -> None:
    clear = np.float32(_clear_of_parts(float(np.float32(scale)), set()))
    assert abs(float(clear) * float(np.float32(1) / clear) - 1) < RECIPROCAL
    x = np.random.default_rng(0).normal(0, 40 * scale, 100_000).astype(np.float32)
    product, quotient = x * (np.float32(1) / clear), x / clear
    assert (product == quotient).mean() > 0.9


class Means(nn.Module):
    """Means of one and of two numbers, which have the largest code of what they are means of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(200, 40)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class Shares(nn.Module):
    """Products and a quotient, whose last bits both runtimes have alike."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 48, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2) for part in self.first(x).chunk(3, 1))
        q, k = torch.relu(q), torch.relu(k)
        total = q * k.sum(-1, keepdim=True) + 0.1
        result: Tensor = self.last((q * v / total).reshape(len(x), 16, *x.shape[2:]))
        return result


@pytest.mark.parametrize("network", [Means(), Shares()], ids=["means", "shares"])
def test_both_runtimes_round_alike(network: nn.Module) -> None:
    x = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    assert check_int8(network, [x]) == 1.0


def test_a_network_without_float32_steps_keeps_its_scales() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    x = torch.randn(8, 3, 6, 6)
    folded = fold_bn(layers, (3, 6, 6))
    scales = calibrate(folded, [x], Ptq(method="ptq"))
    with torch.no_grad():
        largest = float(layers[:2](x).max())
    assert scales.activations["_1"].scale == pytest.approx(largest / 255, rel=1e-6)
