"""Rounding whose ranges move while the network is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.pipeline.quantize.fake import QuantizedLayer
from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import HIGHEST, LOWEST, ActivationScale, weight_scales


class LearnedQuantize(nn.Module):
    """`FakeQuantize` whose scale and zero point are trained by the loss.

    LSQ (Esser et al. 2020) with the offset of LSQ+ (Bhalgat et al. 2020), which is kept a whole
    code, because 0 must have one. The logarithm of the scale is what is trained (Jain et al.
    2020): it cannot become negative, and steps are relative.
    """

    def __init__(self, start: ActivationScale) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(start.scale)))
        self.zero_point = nn.Parameter(torch.tensor(float(start.zero_point)))

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = _Round.apply(x.float(), self.log_scale, self.zero_point)  # type: ignore[no-untyped-call]
        return rounded

    @property
    def scale(self) -> Tensor:
        """The present scale, detached."""
        return self.log_scale.detach().exp()

    def span(self) -> Range:
        """The range that the codes stand for."""
        return _span(float(self.scale), _whole(float(self.zero_point.detach())))


class AveragedQuantize(nn.Module):
    """`FakeQuantize` whose range is a moving average of the extremes of the batches.

    Jacob et al., "Quantization and Training of Neural Networks" (2018), 3.1.
    """

    low: Tensor
    high: Tensor

    def __init__(self, start: ActivationScale, momentum: float = 0.01) -> None:
        super().__init__()
        low, high = _span(start.scale, start.zero_point)
        self.momentum = momentum
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            least, greatest = torch.aminmax(x.detach())
            self.low.lerp_(least.clamp(max=0), self.momentum)
            self.high.lerp_(greatest.clamp(min=0), self.momentum)
        scale = self.scale
        zero_point = (LOWEST - self.low / scale).round().clamp(LOWEST, HIGHEST)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(
            x, scale, zero_point.int(), LOWEST, HIGHEST
        )
        return rounded

    @property
    def scale(self) -> Tensor:
        """The present scale."""
        tiny = torch.finfo(torch.float32).tiny
        return ((self.high - self.low) / (HIGHEST - LOWEST)).clamp(min=tiny)

    def span(self) -> Range:
        """The range that the codes stand for."""
        return float(self.low), float(self.high)


class FollowingLayer(QuantizedLayer):
    """A `QuantizedLayer` whose scales follow its weights, and its input's scale."""

    def __init__(self, start: QuantizedLayer, source: nn.Module) -> None:
        super().__init__(start.layer, tuple(start.scale.tolist()), input_scale=start.input_scale)
        # In a tuple, so that the quantiser, a submodule elsewhere, does not become one here too.
        self.source = (source,)

    def rounded_bias(self) -> Tensor | None:
        return self.layer.bias  # its codes move with the scales

    def forward(self, x: Tensor) -> Tensor:
        (source,) = self.source
        assert isinstance(source, LearnedQuantize | AveragedQuantize)
        scale = float(source.scale)
        self.scale = weight_scales(self.layer.weight, self.layer.bias, input_scale=scale)
        return super().forward(x)


class FixedLayer(QuantizedLayer):
    """A `QuantizedLayer` that stays what it is while its weights and biases are trained."""

    def __init__(self, start: QuantizedLayer) -> None:
        super().__init__(start.layer, tuple(start.scale.tolist()), input_scale=start.input_scale)

    def rounded_weight(self) -> Tensor:
        rounded: Tensor = torch.fake_quantize_per_channel_affine(
            self.clipped_weight(), self.scale, self.zero_point, 0, LOWEST, HIGHEST
        )
        return rounded


class _Round(torch.autograd.Function):
    """(x, log scale, zero point) -> x on its codes, with LSQ's gradients.

    A value inside the range moves with the error of its rounding, one outside with the end that
    it is at. LSQ's factor for the size of the tensor is left out: Adam, which trains the ranges,
    does not see factors.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_scale: Tensor, zero_point: Tensor) -> Tensor:
        scale = math.exp(log_scale)
        rounded, inside = torch.ops.aten.fake_quantize_per_tensor_affine_cachemask(
            x, scale, _whole(float(zero_point)), LOWEST, HIGHEST
        )
        ctx.save_for_backward(x, rounded, inside)
        ctx.scale = scale
        return rounded  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, rounded, inside = ctx.saved_tensors
        to_x = gradient * inside
        to_log_scale = (gradient * rounded).sum() - (to_x * x).sum()
        to_zero_point = (to_x.sum() - gradient.sum()) * ctx.scale
        return to_x, to_log_scale, to_zero_point


def _whole(zero_point: float) -> int:
    return min(max(round(zero_point), LOWEST), HIGHEST)


def _span(scale: float, zero_point: int) -> Range:
    return (LOWEST - zero_point) * scale, (HIGHEST - zero_point) * scale
