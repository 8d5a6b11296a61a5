"""The scales of a quantised network as a value, and the arithmetic that makes them.

A code q means the real number scale × (q − zero_point); every scale is a float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError

WeightRanges = Literal["minmax", "mse"]

LOWEST, HIGHEST = -128, 127  # activation codes
WEIGHT_HIGHEST = 127  # weight codes are symmetric: −127..127
WEIGHT_SHARES = tuple(1 - i / 100 for i in range(61))  # of the min-max scale; the largest first


@dataclass(frozen=True)
class ActivationScale:
    """Scale and zero point of one activation tensor."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if not LOWEST <= self.zero_point <= HIGHEST:
            raise InputError(f"zero point {self.zero_point} is not in {LOWEST}..{HIGHEST}")


@dataclass(frozen=True)
class Scales:
    """All scales of a network, by the names of the folded graph (`fold_bn`).

    activations: the tensor after a step -> its scale.
    weights: convolution or linear layer -> one scale for each output channel.
    fp32: the layers that have none, because they are kept in float32.
    """

    activations: Mapping[str, ActivationScale]
    weights: Mapping[str, tuple[float, ...]]
    fp32: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for scales in self.weights.values():
            for scale in scales:
                _check_scale(scale)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; float32 survives exactly, because a float64 holds it."""
        return {
            "activations": {
                name: {"scale": a.scale, "zero_point": a.zero_point}
                for name, a in self.activations.items()
            },
            "weights": {name: list(scales) for name, scales in self.weights.items()},
            "fp32": list(self.fp32),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Scales:
        """The inverse of `to_json`.

        Raises:
            InputError: something is missing, or no valid scale.
        """
        try:
            return cls(
                {
                    name: ActivationScale(float(a["scale"]), int(a["zero_point"]))
                    for name, a in document["activations"].items()
                },
                {name: tuple(map(float, s)) for name, s in document["weights"].items()},
                tuple(map(str, document["fp32"])),
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise InputError(f"these are no scales: {type(error).__name__} {error}") from None


def _check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale):
        raise InputError(f"scale {scale!r} is not a positive finite float32")


def activation_scale(minimum: float, maximum: float, scale: float | None = None) -> ActivationScale:
    """The scale whose 256 codes span [minimum, maximum] extended to contain 0.

    Args:
        scale: a given scale at least as large as the span needs; only the zero point is found.
    """
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    if scale is None:
        span = (high - low) or 1.0  # a tensor that is always 0: any scale is right
        scale = max(float(np.float32(span / (HIGHEST - LOWEST))), float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST))
    return ActivationScale(scale, zero_point)


def weight_scales(
    weight: Tensor,
    bias: Tensor | None,
    *,
    input_scale: float,
    ranges: WeightRanges = "minmax",
) -> Tensor:
    """One scale for each output channel (axis 0), float32.

    A channel that pruning left all zero, or nearly, still needs a scale that its bias can be
    written in: biases are int32 in units of input_scale × scale.

    Args:
        ranges: minmax is max|w| / 127; mse is the part of that, from a grid of `WEIGHT_SHARES`,
            with the least squared error over the channel, rounding and clipping.
    """
    rows = weight.detach().flatten(1).double()
    channels = rows.abs().amax(1) / WEIGHT_HIGHEST
    if ranges == "mse":
        channels = channels * _best_shares(rows, channels)
    largest = float(channels.max()) or 1.0 / WEIGHT_HIGHEST
    floor = torch.full_like(channels, largest * 2.0**-12)
    if bias is not None:
        floor = torch.maximum(floor, bias.detach().abs().double() / (input_scale * 2.0**30))
    return torch.maximum(channels, floor).float()


def round_weights(rows: Tensor, scales: Tensor) -> Tensor:
    """Rows [channels, ...] -> the same, rounded to codes −127..127 of ``scales`` [channels]."""
    column = scales.reshape(-1, *[1] * (rows.ndim - 1))
    return torch.round(rows / column).clamp(-WEIGHT_HIGHEST, WEIGHT_HIGHEST) * column


def _best_shares(rows: Tensor, channels: Tensor) -> Tensor:
    """For each channel the share of its scale that rounds it with the least squared error."""
    safe = channels.clamp(min=torch.finfo(torch.float64).tiny)
    best, least = torch.ones_like(safe), torch.full_like(safe, torch.inf)
    for share in WEIGHT_SHARES:
        error = (round_weights(rows, safe * share) - rows).square().sum(1)
        better = error < least
        best, least = best.where(~better, share), least.where(~better, error)
    return best
