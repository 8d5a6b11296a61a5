"""Steps that take several tensors: where they go, and which scales they share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from operator_fixtures import check_int8
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.quantize import calibrate, fake_quantized, fold_bn
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.recipe import Ptq

PTQ = Ptq(method="ptq")
TAKES = (8, 5, 7)


class Shuffled(nn.Module):
    """A unit of shufflenet_v2 with a gate: chunk, concatenate, shuffle, multiply, add."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.swish = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat((left, self.conv(right)), dim=1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width)
        x = torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)
        gate = F.hardsigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        return self.swish(gate * x)


class NormAndClamp(nn.BatchNorm2d):
    """As timm has it: a norm that checks its input, calls the function, and clamps."""

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.ndim == 4, f"expected 4D input (got {x.ndim}D input)")
        mean, variance = self.running_mean, self.running_var
        norm = (mean, variance, self.weight, self.bias, self.training, 0.1, self.eps)
        return F.relu(F.batch_norm(x, *norm))


class Spelled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class LikeTimm(nn.Module):
    """Arguments that nobody gives, and query, key and value of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 12, 1, bias=False)
        self.kernel = nn.Parameter(torch.randn(12, 1, 3, 3))
        self.norm = NormAndClamp(12)
        self.norm.running_mean = torch.randn(12)
        self.norm.running_var = 0.5 + torch.rand(12)
        self.qkv = Spelled(12, 36)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = F.conv2d(self.conv(x), self.kernel, padding=1, groups=12)
        x = self.norm(x).flatten(2).transpose(1, 2)
        if mask is not None:
            x = x + mask
        qkv = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, 2, 6).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=0.0, is_causal=is_causal
        )
        return mixed.transpose(1, 2).flatten(2).mean(1)


def images() -> Tensor:
    return torch.randn(6, 8, 5, 7, generator=torch.Generator().manual_seed(1))


def shuffled() -> Shuffled:
    torch.manual_seed(0)
    return Shuffled().eval()


def test_folding_keeps_lists_sizes_and_gates() -> None:
    module, x = shuffled(), images()
    folded = fold_bn(module, TAKES)
    torch.testing.assert_close(folded(x), module(x), rtol=1e-6, atol=1e-6)
    names = [node.name for node in folded.graph.nodes]
    assert names[-3:-1] == ["swish_gate", "swish"]
    assert torch.equal(fold_bn(folded, TAKES)(x), folded(x))


def test_what_is_joined_shares_a_scale() -> None:
    x = images()
    x[:, 4:] *= 9  # the two sides of the concatenation differ widely
    scales = calibrate(shuffled(), [x], PTQ).activations
    assert scales["x"] == scales["conv"]
    assert {"cat", "transpose", "view", "chunk", "size"}.isdisjoint(scales)
    low, high = float(min(x.min(), 0)), float(x.max())
    assert scales["x"].scale * 255 >= (high - low) * 0.999


def test_gates_have_the_scale_of_a_fraction() -> None:
    wide = calibrate(shuffled(), [images() * 1000], PTQ).activations
    narrow = calibrate(shuffled(), [images()], PTQ).activations
    for name in ("hardsigmoid", "swish_gate"):
        assert wide[name].scale == pytest.approx(1 / 255.25)
        assert narrow[name].scale <= wide[name].scale
        for scale in (wide[name], narrow[name]):
            # A gate of 1/2 is what zero gives, so it must not fall between two codes.
            assert abs((0.5 / scale.scale) % 1 - 0.5) >= 0.1
            assert scale.zero_point == -128


def test_the_imitation_is_close() -> None:
    module, x = shuffled(), images()
    int8 = fake_quantized(fold_bn(module, TAKES), calibrate(module, [x], PTQ))
    error = (int8(x) - module(x)).abs().max() / module(x).abs().max()
    assert error < 0.05


def test_a_step_with_an_unknown_function_is_named() -> None:
    class Ordered(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(x, 1).sort(1).values

    with pytest.raises(InputError, match=r"sort.* orders numbers, or takes some by rank"):
        calibrate(Ordered(), [images()], PTQ)


def test_layers_as_timm_writes_them() -> None:
    module = LikeTimm().eval()
    folded = fold_bn(module, TAKES)
    assert not any(isinstance(step, nn.BatchNorm2d) for step in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(images()), module(images()), atol=1e-5, rtol=1e-5)
        int8 = fake_quantized(fold_bn(module, TAKES), calibrate(module, [images()], PTQ))
        assert (int8(images()) - module(images())).abs().max() < 0.1


def test_a_norm_of_its_batch_is_refused() -> None:
    class OfItsBatch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, None, None, training=True)

    with pytest.raises(
        InputError, match=r"batch_norm.* normalises by the batch: it must have running"
    ):
        fold_bn(OfItsBatch(), TAKES)


class LinearlyAttending(nn.Module):
    """Relations of keys and values before queries; a column of 1 sums the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.last = nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1, bias=False)
        with torch.no_grad():
            self.qkv.weight *= 0.1  # so that 1 is far out of the range of the values
            self.qkv.bias.mul_(0.1)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, -1)
        v = F.pad(v, (0, 1), value=1.0)
        found = q.relu() @ (k.relu().transpose(1, 2) @ v)
        found = found[..., :-1] / (found[..., -1:] + 1e-5)
        return self.last(found.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


def test_a_number_around_small_ones_is_not_clipped_to_their_range() -> None:
    torch.manual_seed(0)
    module, x = LinearlyAttending().eval(), torch.randn(16, *TAKES)
    folded = fold_bn(module, TAKES)
    with torch.no_grad():
        expected, rounded = module(x), fake_quantized(folded, calibrate(folded, [x], PTQ))(x)
    assert (rounded - expected).square().mean() < 2e-3 * expected.square().mean()
    assert check_int8(module, [x]) > 0.99


def test_minus_infinity_in_front_of_a_maximum_stays_in_codes() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 8, 1), nn.ConstantPad2d(1, -65504.0), nn.MaxPool2d(3, 2)]
    module, x = nn.Sequential(*layers, nn.Conv2d(8, 8, 1)).eval(), torch.randn(16, *TAKES)
    folded = fold_bn(module, TAKES)
    assert len(place(folded).integer_steps) == 4
    assert check_int8(module, [x]) == 1
