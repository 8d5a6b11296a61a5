"""Folding, calibration, and the torch imitation of int8."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.quantize import FakeQuantize, Scales, calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.quantize.alignment import align
from edgeticket.pipeline.quantize.scales import ActivationScale, activation_scale, weight_scales
from edgeticket.pipeline.recipe import Ptq

PTQ = Ptq(method="ptq")
TAKES = (3, 12, 12)


class Block(nn.Module):
    """A residual block, and a ReLU behind a max pool."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(8, 8)
        self.bn3 = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.bn1(self.conv1(x)), 2))
        x = F.relu(self.bn2(self.conv2(x)) + x)
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.head(self.dropout(F.relu(self.bn3(self.hidden(x)))))


def block() -> Block:
    torch.manual_seed(0)
    module = Block()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.weight, 1, 0.2)
            nn.init.normal_(layer.bias)
    return module.eval()


def images(count: int = 12) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_folding_keeps_the_function_and_names_every_step() -> None:
    module, x = block(), images()
    folded = fold_bn(module, TAKES)
    torch.testing.assert_close(folded(x), module(x), rtol=1e-5, atol=1e-5)
    names = [node.name for node in folded.graph.nodes][1:-1]
    assert names == [
        *("conv1", "relu", "max_pool2d", "conv2", "add", "relu_1", "adaptive_avg_pool2d"),
        *("flatten", "hidden", "relu_2", "head"),
    ]
    assert set(names) == {name for name, _ in folded.named_children()}


def test_folding_a_folded_graph_changes_nothing() -> None:
    once = fold_bn(block(), TAKES)
    twice = fold_bn(once, TAKES)
    assert [n.name for n in once.graph.nodes] == [n.name for n in twice.graph.nodes]
    assert torch.equal(once(images()), twice(images()))


def test_folding_leaves_the_original_alone() -> None:
    module = block().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fake_quantized(fold_bn(module, TAKES), calibrate(module, [images()], PTQ))
    assert module.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_steps_inside_modules_are_named_after_them() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.Sequential(Residual(), Residual())

        def forward(self, x: Tensor) -> Tensor:
            return self.stage(x)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.conv(x) + x)

    names = [node.name for node in fold_bn(Outer(), TAKES).graph.nodes]
    assert names[1:-1] == [f"stage_{i}_{step}" for i in (0, 1) for step in ("conv", "add", "relu")]


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3, affine=False)),
    ],
)
def test_a_batch_norm_by_itself_becomes_a_depthwise_convolution(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    folded = fold_bn(module.eval(), TAKES)
    depthwise = [m for m in folded.modules() if isinstance(m, nn.Conv2d) and m.groups == 3]
    assert len(depthwise) == 1
    torch.testing.assert_close(folded(images()), module(images()), rtol=1e-5, atol=1e-5)


def test_a_batch_norm_without_statistics_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(InputError, match=r"^1 \(batch_norm\) normalises by the batch"):
        fold_bn(module, TAKES)


def test_a_layer_with_two_readers_keeps_its_batch_norm_apart() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.bn(x) + x

    module = Twice().eval()
    nn.init.normal_(module.bn.running_mean)
    folded = fold_bn(module, TAKES)
    assert {"conv", "bn"} <= {name for name, _ in folded.named_children()}
    torch.testing.assert_close(folded(images()), module(images()), rtol=1e-5, atol=1e-5)


def test_control_flow_on_tensors_cannot_be_traced() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="Branch cannot be traced"):
        fold_bn(Branch(), TAKES)


def test_scales_belong_to_the_steps_that_run_as_one() -> None:
    scales = calibrate(block(), [images()], PTQ)
    # No scale for: conv1 and hidden (their ReLU has it), add, pooling, flattening.
    assert list(scales.activations) == [
        *("x", "relu", "conv2", "relu_1", "adaptive_avg_pool2d", "relu_2", "head"),
    ]
    assert list(scales.weights) == ["conv1", "conv2", "hidden", "head"]
    assert all(scales.activations[name].zero_point == -128 for name in ("relu", "relu_1"))


def test_calibration_does_not_depend_on_the_batches() -> None:
    module, x = block(), images(12)
    whole = calibrate(module, [x], PTQ)
    for size in (1, 5, 12):
        parts = calibrate(module, x.split(size), PTQ)
        assert parts.weights == whole.weights
        for name, scale in parts.activations.items():  # batches round differently in float
            assert scale.scale == pytest.approx(whole.activations[name].scale, rel=1e-5)


def test_scales_survive_json_to_the_last_bit() -> None:
    scales = calibrate(block(), [images()], PTQ)
    assert Scales.from_json(json.loads(json.dumps(scales.to_json()))) == scales


REST: dict[str, object] = {"weights": {}, "fp32": []}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"activations": {}}, "KeyError 'weights'"),
        ({"activations": {"x": 3}, **REST}, "these are no scales"),
        ({"activations": {"x": {"scale": 0, "zero_point": 0}}, **REST}, "scale 0.0"),
        ({"activations": {"x": {"scale": 0.1, "zero_point": 0}}, **REST}, "scale 0.1"),
        ({"activations": {"x": {"scale": 0.5, "zero_point": 300}}, **REST}, "300"),
        ({"activations": {}, "weights": {"w": [float("nan")]}, "fp32": []}, "scale nan"),
    ],
)
def test_what_is_no_scale_is_refused(document: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scales.from_json(document)


reals = st.floats(-1e6, 1e6, width=32)


@given(reals, reals)
def test_every_range_is_covered_and_holds_zero(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    found = activation_scale(min(a, b), max(a, b))
    covered = [found.scale * (code - found.zero_point) for code in (-128, 127)]
    slack = found.scale * 0.51  # the zero point is a whole code
    assert covered[0] <= low + slack
    assert covered[1] >= high - slack
    assert covered[1] - covered[0] <= max(high - low, 1.0) * 1.001 or found.scale < 1e-37


def test_weight_scales_follow_the_largest_weight_of_each_channel() -> None:
    weight = torch.tensor([[1.27, -0.5], [0.0, -2.54], [0.0, 0.0]])
    scales = weight_scales(weight, torch.tensor([0.0, 0.0, 1.0]), input_scale=0.1).tolist()
    assert scales[:2] == [float(np.float32(1.27) / 127), float(np.float32(2.54) / 127)]
    # A dead channel has a scale too, in which its bias is fine-grained.
    assert scales[2] == scales[1] * 2**-12


def test_a_large_bias_on_a_dead_channel_still_fits_int32() -> None:
    (scale,) = weight_scales(torch.zeros(1, 4), torch.tensor([5.0]), input_scale=1e-6)
    assert 2**29 < 5.0 / (1e-6 * scale) < 2**31
    scales = weight_scales(torch.zeros(2, 4), None, input_scale=1.0)
    assert scales.tolist() == [float(np.float32(2**-12 / 127))] * 2


def test_an_empty_calibration_set_is_refused() -> None:
    for inputs in ([], [images(0)]):
        with pytest.raises(InputError, match="the calibration set is empty"):
            calibrate(block(), inputs, PTQ)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_names_its_step(value: float) -> None:
    module = block()
    with torch.no_grad():
        module.conv2.bias[3] = value
    with pytest.raises(InputError, match="the output of conv2 is not finite"):
        calibrate(module, [images()], PTQ)


def test_a_step_without_an_integer_form_stays_in_float() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.PReLU(), nn.Conv2d(3, 2, 1))
    scales = calibrate(module, [images()], PTQ)
    assert set(scales.weights) == {"_0", "_2"}
    int8 = fake_quantized(fold_bn(module, TAKES), scales)
    torch.testing.assert_close(int8(images()), module(images()), atol=0.05, rtol=0.05)


@given(st.lists(st.floats(2**-13, 1.0, width=32), min_size=3, max_size=6))
def test_sums_of_aligned_scales_never_fall_half_way(spans: list[float]) -> None:
    group = {str(i): activation_scale(-span, span) for i, span in enumerate(spans)}
    aligned = align(group, {str(i): (-span, span) for i, span in enumerate(spans)})
    ratios = [Fraction(aligned[a].scale) / Fraction(aligned[b].scale) for a in group for b in group]
    # Odd over odd: (a·q + b·r) / c with whole q and r cannot end in one half.
    assert all(r.numerator % 2 == 1 and r.denominator % 2 == 1 for r in ratios)
    assert max(ratios) < 2**8
    largest = max(a.scale for a in group.values())
    for name, before in group.items():
        assert before.scale <= aligned[name].scale
        assert aligned[name].scale <= before.scale + largest / 160


def test_scales_that_meet_in_an_addition_are_aligned() -> None:
    scales = calibrate(block(), [images()], PTQ).activations
    for name in ("conv2", "relu"):  # the two terms, against the sum
        ratio = Fraction(scales[name].scale) / Fraction(scales["relu_1"].scale)
        assert ratio.numerator % 2 == 1
        assert ratio.denominator % 2 == 1


def test_every_tensor_of_the_imitation_lies_on_its_codes() -> None:
    module, x = block(), images()
    scales = calibrate(module, [x], PTQ)
    int8 = fake_quantized(fold_bn(module, TAKES), scales)
    seen = {}
    for name, layer in int8.named_modules():
        if isinstance(layer, FakeQuantize):
            layer.register_forward_hook(
                lambda _m, _i, output, name=name: seen.update({name: output})
            )
    int8(x)
    assert set(seen) == {f"{name}_int8" for name in scales.activations}
    for name, scale in scales.activations.items():
        codes = seen[f"{name}_int8"].detach().double() / scale.scale + scale.zero_point
        assert torch.all((codes - codes.round()).abs() < 1e-3)
        assert codes.round().min() >= -128
        assert codes.round().max() <= 127


def test_the_imitation_is_close_and_can_be_trained() -> None:
    module, x = block(), images()
    int8 = fake_quantized(fold_bn(module, TAKES), calibrate(module, [x], PTQ))
    error = (int8(x) - module(x)).abs().max() / module(x).abs().max()
    assert error < 0.05
    int8(x).square().sum().backward()
    gradient = int8.conv1.layer.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_zero_weights_stay_zero() -> None:
    module = block()
    with torch.no_grad():
        module.conv2.weight[2:5] = 0
        module.conv2.weight[:, 1, 0, 0] = 0
    int8 = fake_quantized(fold_bn(module, TAKES), calibrate(module, [images()], PTQ))
    layer = int8.conv2
    weight = torch.fake_quantize_per_channel_affine(
        layer.layer.weight, layer.scale, layer.zero_point, 0, -128, 127
    )
    assert torch.equal(weight == 0, (layer.layer.weight == 0) | (weight == 0))
    assert torch.all(weight[2:5] == 0)
    assert torch.all(weight[:, 1, 0, 0] == 0)
    assert torch.isfinite(int8(images())).all()


def test_biases_are_whole_codes() -> None:
    module = block()
    scales = calibrate(module, [images()], PTQ)
    layer = fake_quantized(fold_bn(module, TAKES), scales).conv2
    unit = torch.tensor(scales.weights["conv2"]).double() * scales.activations["relu"].scale
    bias = layer.rounded_bias().detach()
    codes = bias.double() / unit
    assert torch.all((codes - codes.round()).abs() < 0.02)  # float32 holds them so
    assert torch.all((bias - fold_bn(module, TAKES).conv2.bias).abs() <= unit * 0.51)


def test_a_relu_that_shares_its_input_keeps_the_scale() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return F.relu(x) + x

    assert list(calibrate(Shared(), [images()], PTQ).activations) == ["x", "conv", "add"]


def test_scales_of_another_network_are_refused() -> None:
    module = block()
    scales = calibrate(module, [images()], PTQ)
    other = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match=r"activation scales for .* calibrate this network anew"):
        fake_quantized(fold_bn(other, TAKES), scales)
    weights = {**scales.weights, "conv1": scales.weights["conv1"][:-1]}
    with pytest.raises(InputError, match="conv1 has 8 output channels, but 7 weight scales"):
        fake_quantized(fold_bn(module, TAKES), Scales(scales.activations, weights))


def test_a_zero_point_outside_of_int8_is_refused() -> None:
    with pytest.raises(InputError, match="zero point 128"):
        ActivationScale(0.5, 128)
