"""Ways of choosing ranges, and of moving weights before they are rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quantize import block, images
from torch import Tensor, fx, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.quantize import (
    calibrate,
    diagnose,
    fake_quantized,
    fold_bn,
    quantize,
    written_back,
)
from edgeticket.pipeline.quantize.adaround import round_rows
from edgeticket.pipeline.quantize.equalise import equalise
from edgeticket.pipeline.quantize.observe import observe_extremes, observe_histograms
from edgeticket.pipeline.quantize.ranges import SHARES, Histogram, mse_range, percentile_range
from edgeticket.pipeline.quantize.scales import (
    ActivationScale,
    Scales,
    activation_scale,
    weight_scales,
)
from edgeticket.pipeline.recipe import Ptq

PTQ = Ptq(method="ptq")


def histogram_of(values: Tensor) -> Histogram:
    """Through the same code as a calibration: the input of a graph that passes it on."""
    identity = fold_bn(nn.Sequential(nn.ReLU()), (3, 12, 12))
    name = next(iter(identity.graph.nodes)).name
    ranges = observe_extremes(identity, [values[None]], {name})
    return observe_histograms(identity, [values[None]], ranges)[name]


def rounding_error(values: Tensor, span: tuple[float, float]) -> float:
    chosen = activation_scale(*span)
    rounded = torch.fake_quantize_per_tensor_affine(
        values, chosen.scale, chosen.zero_point, -128, 127
    )
    return float((rounded - values).double().square().sum())


def samples(kind: str) -> Tensor:
    g = torch.Generator().manual_seed(3)
    normal = torch.randn(20000, generator=g)
    if kind == "one-sided with a tail":
        return torch.relu(normal) * (1 + 30 * (torch.rand(20000, generator=g) > 0.999))
    if kind == "skewed":
        return normal.exp() - 2
    return normal


@pytest.mark.parametrize("kind", ["one-sided with a tail", "skewed", "normal"])
def test_the_mse_range_is_the_best_of_a_grid(kind: str) -> None:
    values = samples(kind)
    found = rounding_error(values, mse_range(histogram_of(values), PTQ))
    low, high = float(values.min().clamp(max=0)), float(values.max())
    grid = [rounding_error(values, (low * a, high * b)) for a in SHARES[::8] for b in SHARES[::4]]
    assert found <= min(grid) * 1.01  # bins are an eighth of a code wide
    assert found < rounding_error(values, (low, high)) or kind == "normal"


@given(st.floats(50.1, 99.9), st.floats(0.01, 30))
@settings(max_examples=20, deadline=None)
def test_percentiles_keep_what_they_promise(percentile: float, more: float) -> None:
    values = samples("skewed")
    histogram = histogram_of(values)
    low, high = percentile_range(histogram, Ptq(method="ptq", percentile=percentile))
    for inside in ((values <= high), (values >= low)):
        assert float(inside.double().mean()) >= percentile / 100 - 1e-4
    assert histogram.low <= low <= high <= histogram.high
    wider = percentile_range(histogram, Ptq(method="ptq", percentile=min(100, percentile + more)))
    assert wider[0] <= low
    assert wider[1] >= high
    whole = percentile_range(histogram, Ptq(method="ptq", percentile=100))
    assert whole == pytest.approx((histogram.low, histogram.high), rel=1e-5)


def test_exact_zeros_count_for_percentiles_and_cost_nothing() -> None:
    values = torch.cat([torch.zeros(9000), torch.linspace(0.01, 1, 1000)])
    histogram = histogram_of(values)
    assert histogram.zeros == 9000
    assert histogram.counts.sum() == 1000
    _, high = percentile_range(histogram, Ptq(method="ptq", percentile=95))
    assert high == pytest.approx(0.5, abs=0.01)


def test_mse_weight_scales_are_the_best_of_their_grid() -> None:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 40, generator=g).pow(3)
    weight[5] = 0
    largest = weight.abs().amax(1).double() / 127
    found = weight_scales(weight, None, input_scale=1.0, ranges="mse").double()
    for row in range(5):
        shares = [share / 100 for share in range(40, 101)]
        errors = [_weight_error(weight[row], float(largest[row]) * s) for s in shares]
        assert _weight_error(weight[row], float(found[row])) <= min(errors) * (1 + 1e-5)
    assert found[5] > 0


def _weight_error(row: Tensor, scale: float) -> float:
    row = row.double()
    return float(((row / scale).round().clamp(-127, 127) * scale - row).square().sum())


def moments(rows: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    targets = inputs @ rows.T
    return inputs.T @ inputs / len(inputs), targets.T @ inputs / len(inputs)


def test_adaround_stays_within_one_step_and_beats_the_nearest() -> None:
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 12, generator=g, dtype=torch.float64)
    rows[:, 3] = 0
    inputs = torch.randn(500, 12, generator=g, dtype=torch.float64) @ torch.randn(
        12, 12, generator=g, dtype=torch.float64
    )
    scales = rows.abs().amax(1) / 10  # coarse, so that rounding matters
    squares, products = moments(rows, inputs)
    found = round_rows(rows, scales, squares, products)
    codes = found / scales[:, None]
    assert torch.all((codes - codes.round()).abs() < 1e-9)
    assert torch.all((found - rows).abs() < scales[:, None])
    assert not found[:, 3].any()
    nearest = (rows / scales[:, None]).round() * scales[:, None]

    def error(candidate: Tensor) -> Tensor:
        return ((candidate - rows) @ inputs.T).square().mean(1)

    assert torch.all(error(found) <= error(nearest) * (1 + 1e-9))
    assert error(found).sum() < 0.9 * error(nearest).sum()
    # No single weight can be turned over with profit, but for what damping asks.
    real = rows / scales[:, None]
    for column in range(12):
        turned = codes.round().clone()
        other = torch.where(turned > real, real.floor(), real.ceil())
        turned[:, column] = other[:, column]
        assert torch.all(error(turned * scales[:, None]) > error(found) * 0.95)


def test_equalisation_keeps_the_function_and_evens_out_ranges() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
        nn.Conv2d(8, 6, 1), nn.ReLU6(), nn.Conv2d(6, 4, 1),
    ).eval()  # fmt: skip
    with torch.no_grad():
        module[0].weight *= torch.logspace(-2, 2, 8).reshape(-1, 1, 1, 1)
        module[3].weight[2] = 0  # a dead channel
    before = fold_bn(module, (3, 12, 12))
    after = fold_bn(module, (3, 12, 12))
    equalise(after)
    x = images()
    expected = before(x)
    assert (after(x) - expected).abs().max() <= 1e-4 * expected.abs().max()

    def spread(folded: fx.GraphModule) -> float:
        rows = folded.get_submodule("_0").weight.abs().flatten(1).amax(1)
        return float((rows.max() / rows.min()).detach())

    assert spread(after) < spread(before) / 10
    names = [node.name for node in after.graph.nodes if node.op == "call_module"]
    first, second, third = (after.get_submodule(names[i]) for i in (0, 3, 5))
    alive = torch.arange(8) != 2
    outgoing = first.weight.abs().flatten(1).amax(1)[alive]
    torch.testing.assert_close(
        outgoing, second.weight.abs().flatten(1).amax(1)[alive], rtol=1e-2, atol=0
    )
    incoming = third.weight.abs().amax((0, 2, 3))[alive]
    torch.testing.assert_close(
        second.weight.abs().flatten(1).amax(1)[alive], incoming, rtol=1e-2, atol=0
    )
    # Behind ReLU6 nothing may move.
    assert torch.equal(after.get_submodule(names[7]).weight, module[7].weight)


def mean_errors(module: nn.Module, cfg: Ptq) -> Tensor:
    """Mean error of each channel of the outputs."""
    done = quantize(module, [images(64)], cfg)
    return (
        (fake_quantized(done.folded, done.scales)(images(64)) - module(images(64))).mean(0).detach()
    )


def test_bias_correction_and_adaround_make_the_output_better() -> None:
    module = block()
    # Few codes, so that means move: a range that is much too wide.
    with torch.no_grad():
        module.conv2.weight[0, 0, 0, 0] = 8
    plain = mean_errors(module, PTQ)
    corrected = mean_errors(module, Ptq(method="ptq", bias_correction=True))
    assert corrected.abs().sum() < 0.5 * plain.abs().sum()

    def squared_error(cfg: Ptq) -> float:
        done = quantize(module, [images(64)], cfg)
        found = fake_quantized(done.folded, done.scales)(images(64))
        return float((found - module(images(64))).detach().square().mean())

    better = Ptq(method="ptq", rounding="adaround", bias_correction=True)
    assert squared_error(better) < squared_error(PTQ)


def test_rounded_weights_lie_on_codes_and_zeros_stay() -> None:
    module = block()
    with torch.no_grad():
        module.conv2.weight[:, 1] = 0
    done = quantize(module, [images()], Ptq(method="ptq", rounding="adaround"))
    before = fold_bn(module, (3, 12, 12))
    for name, scales in done.scales.weights.items():
        weight = done.folded.get_submodule(name).weight.detach()
        column = torch.tensor(scales).reshape(-1, *[1] * (weight.ndim - 1))
        codes = weight / column
        assert torch.all((codes - codes.round()).abs() < 1e-3)
        assert torch.all((weight - before.get_submodule(name).weight).abs() <= column * 1.001)
    assert not done.folded.conv2.weight[:, 1].any()


def test_folded_weights_come_back_to_the_last_bit() -> None:
    network = Network.fresh("resnet20", {"width": 4}, seed=0)
    folded = fold_bn(network.module(), network.input_shape)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    again = fold_bn(written_back(network, folded).module(), network.input_shape)
    for name, tensor in folded.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_layer_that_is_called_twice_has_one_weight() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(torch.relu(self.conv(x)))

    class Stub(Network):
        def module(self) -> nn.Module:
            return Twice().eval()

    folded = fold_bn(Twice(), (3, 12, 12))
    weights = [name for name, _ in folded.named_parameters() if name.endswith("weight")]
    assert len(weights) == 1
    with torch.no_grad():
        folded.get_parameter(weights[0]).add_(1)
    written_back(Stub("resnet20", {}, {}), folded)


def test_doubts_are_told_by_name() -> None:
    module = block()
    with torch.no_grad():
        module.bn1.weight[:3] = 0
        module.bn1.bias[:3] = -1
    scales = calibrate(module, [images()], PTQ)
    wide = ActivationScale(float(np.float32(scales.activations["conv2"].scale * 50)), 0)
    narrow = ActivationScale(float(np.float32(scales.activations["head"].scale / 4)), 0)
    doubtful = Scales({**scales.activations, "conv2": wide, "head": narrow}, scales.weights)
    said = diagnose(fold_bn(module, (3, 12, 12)), doubtful, [images()])
    dead, wide_one, clipped = (
        next(s for s in said if s.startswith(start))
        for start in (
            "channels that are always zero",
            "values that use 1/8",
            "values that saturate",
        )
    )
    assert "relu (3 of 8)" in dead
    assert "`method: channel_magnitude`" in dead
    assert " conv2 (" in wide_one
    assert "`ranges: mse`" in wide_one
    assert " head (" in clipped
    assert "`ranges: minmax`" in clipped
    assert not any(" x (" in s for s in said)
    plain = diagnose(fold_bn(block(), (3, 12, 12)), calibrate(block(), [images()], PTQ), [images()])
    assert len(plain) == 1
    assert "always zero on the calibration set: relu_2 (2 of 8);" in plain[0]
