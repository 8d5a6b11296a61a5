"""Functions of one number whose integer kernels know one output scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.export import export
from edgeticket.pipeline.operators import KINDS
from edgeticket.pipeline.quantize import Scales, calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.recipe import Ptq
from tests.fixtures.operator_fixtures import run

PTQ = Ptq(method="ptq")
TAKES = (3, 8, 8)
FUNCTIONS = {"Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh, "HardSigmoid": nn.Hardsigmoid}


class Function(nn.Module):
    """A function behind a convolution, whose outputs are ``size`` times those of a fresh one."""

    def __init__(self, function: nn.Module, size: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 1)
        with torch.no_grad():
            self.conv.weight.mul_(size)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def inputs() -> Tensor:
    return torch.randn(8, *TAKES, generator=torch.Generator().manual_seed(1))


def scales_of(network: nn.Module) -> Scales:
    return calibrate(fold_bn(network, TAKES), inputs().split(1), PTQ)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("size", [0.1, 0.4, 1.0, 20.0, 1000.0])
def test_both_runtimes_and_torch_give_the_same_codes(kind: str, size: float) -> None:
    network = Function(FUNCTIONS[kind](), size).eval()
    quantized = fake_quantized(fold_bn(network, TAKES), scales_of(network))
    graph = export(quantized)
    x = inputs()
    (lite,) = run(TARGETS["tflite-int8"].convert(graph), "tflite-int8", [x])
    file = TARGETS["onnx-int8-s8"].convert(graph)
    (codes,) = run(file, "onnx-int8-s8", [x])
    np.testing.assert_array_equal(codes, lite)
    spec = file.outputs[0]
    assert spec.scale is not None
    assert spec.zero_point is not None
    real = (codes.astype(np.float64) - spec.zero_point) * spec.scale
    np.testing.assert_allclose(real, quantized(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_few_of_the_possible_results_get_a_finer_scale(kind: str) -> None:
    fixed = KINDS[kind].fixed
    assert fixed is not None
    wide = scales_of(Function(FUNCTIONS[kind](), 20.0)).activations["function"]
    narrow = scales_of(Function(FUNCTIONS[kind](), 0.1)).activations["function"]
    assert (wide.scale, wide.zero_point) == fixed
    assert narrow.scale < 0.8 * fixed[0]


def test_the_gates_of_a_gru_keep_the_scales_that_are_exact() -> None:
    gru = nn.GRU(3, 4, batch_first=True)
    network = nn.Sequential(gru, _First())
    scales = calibrate(fold_bn(network, (5, 3)), torch.randn(8, 5, 3).split(1), PTQ)
    gates = {s for name, s in scales.activations.items() if name.endswith(("rz", "z_rest"))}
    assert gates
    assert {(s.scale, s.zero_point) for s in gates} == {KINDS["Sigmoid"].fixed}


@pytest.mark.parametrize("takes", [(3, 8, 8), (3, 16), (3,)])
@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_a_hard_swish_of_any_shape_and_size(takes: tuple[int, ...], size: float) -> None:
    """Behind a few of them fresh networks have numbers of 1e-10."""
    torch.manual_seed(0)
    x = torch.randn(8, *takes)
    layer = {1: nn.Linear(3, 4), 2: nn.Conv1d(3, 4, 1), 3: nn.Conv2d(3, 4, 1)}[len(takes)]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(size)
    network = nn.Sequential(layer, nn.Hardswish()).eval()
    folded = fold_bn(network, takes)
    graph = export(fake_quantized(folded, calibrate(folded, [x], PTQ)))
    file = TARGETS["onnx-int8-s8"].convert(graph)
    (codes,) = run(file, "onnx-int8-s8", [x])
    (lite,) = run(TARGETS["tflite-int8"].convert(graph), "tflite-int8", [x])
    np.testing.assert_array_equal(codes, lite)
    spec = file.outputs[0]
    assert spec.scale is not None
    assert spec.zero_point is not None
    real = (codes.astype(np.float64) - spec.zero_point) * spec.scale
    exact = network(x).detach().double().numpy()
    assert np.square(real - exact).sum() < 1e-3 * np.square(exact).sum()


class _First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]
