"""Functions of tensors: in torch, ONNX Runtime and LiteRT alike, for any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.fixtures.operator_fixtures import Function, check_float, check_int8, inputs_for

MAP, ROWS = (4, 6, 8), (5, 12)
BUILDERS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {}


def case(name: str, shape: tuple[int, ...] = MAP) -> Callable[[Any], Any]:
    """Register what makes a module."""

    def add(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        BUILDERS[name] = shape, build
        return build

    return add


FUNCTIONS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "reshape_as": (MAP, lambda x: x.flatten(2).transpose(1, 2).reshape_as(x.flatten(2))),
    "view_as": (MAP, lambda x: x.flatten(1).view_as(x)),
    "expand_as": (MAP, lambda x: x + x.mean((2, 3), keepdim=True).expand_as(x)),
    "new_zeros": (MAP, lambda x: torch.cat([x, x.new_zeros((x.size(0), 2, 6, 8))], 1)),
    "new_ones": (MAP, lambda x: x + x.new_ones((4, 1, 1)) * 2),
    "ones_like": (MAP, lambda x: x - torch.ones_like(x)),
    "zeros_like": (MAP, lambda x: torch.maximum(x, torch.zeros_like(x))),
    "full": (MAP, lambda x: x * torch.full((6, 8), 0.5)),
    "arange": (MAP, lambda x: x + torch.arange(8)),
    "scalar_tensor": (MAP, lambda x: x * torch.scalar_tensor(3.0)),
    "changed_in_place": (MAP, lambda x: _changed_in_place(x)),
    "addcmul": (MAP, lambda x: torch.addcmul(x, x, x.sigmoid(), value=0.5)),
    "addcdiv": (MAP, lambda x: torch.addcdiv(x, x, x.sigmoid() + 1, value=0.5)),
    "where": (MAP, lambda x: torch.where(x > 0, x, 0.1 * x)),
    "where_both": (MAP, lambda x: torch.where((x > 0) & (x < 1) | (x == 2), x, -x)),
    "masked_fill": (MAP, lambda x: x.masked_fill(torch.eye(6, 8).bool(), -3.0)),
    "masked_by_input": (MAP, lambda x: x.masked_fill(~(x.abs() >= 0.5), 0.0)),
    "mask_product": (MAP, lambda x: x * (x > 0.3) + (x <= -0.3).float()),
    "logical": (MAP, lambda x: torch.logical_xor(x > 0, x.abs() != 1).float() * x),
    "count": (ROWS, lambda x: (x > 0).sum(-1).float().unsqueeze(1)),
    "floor_divide": (MAP, lambda x: torch.floor_divide(x * 5, 2)),
    "div_trunc": (MAP, lambda x: torch.div(x * 5, 2, rounding_mode="trunc")),
    "remainder": (MAP, lambda x: torch.remainder(x * 5 + 0.03, 2.0)),
    "fmod": (MAP, lambda x: torch.fmod(x * 5 + 0.03, 2.0)),
    "trunc": (MAP, lambda x: torch.trunc(x * 3)),
    "log1p": (MAP, lambda x: torch.log1p(x.abs())),
    "expm1": (MAP, lambda x: torch.expm1(x)),
    "exp2_log2_log10": (MAP, lambda x: torch.log2(x.exp2() + 1) + torch.log10(x.abs() + 1)),
    "sinh_cosh_tan": (MAP, lambda x: torch.sinh(x) + torch.cosh(x) + torch.tan(x.tanh())),
    "logsumexp": (ROWS, lambda x: torch.logsumexp(x, -1, keepdim=True)),
    "logsumexp_drop": (ROWS, lambda x: torch.logsumexp(x, -1)),
    "cumsum": (ROWS, lambda x: x.cumsum(-1)),
    "cumsum_rows": (ROWS, lambda x: x.cumsum(1)),
    "argmax": (ROWS, lambda x: x.argmax(-1)),
    "argmin_kept": (ROWS, lambda x: x.argmin(1, keepdim=True)),
    "max_and_place": (ROWS, lambda x: x.max(-1)),
    "glu": (MAP, lambda x: F.glu(x, 1)),
    "normalize": (MAP, lambda x: F.normalize(x, dim=1)),
    "norm_1": (ROWS, lambda x: x.norm(p=1, dim=-1)),
    "norm_3": (ROWS, lambda x: torch.linalg.vector_norm(x, 3, dim=-1)),
    "norm_low": (ROWS, lambda x: torch.linalg.vector_norm(x, -float("inf"), dim=-1)),
    "cosine_similarity": (ROWS, lambda x: F.cosine_similarity(x, x.flip(1), dim=-1)),
    "pairwise_distance": (ROWS, lambda x: F.pairwise_distance(x, x.flip(1))),
    "channel_shuffle": (MAP, lambda x: F.channel_shuffle(x, 2)),
    "flip": (MAP, lambda x: x.flip([2, 3])),
    "rot90": (MAP, lambda x: torch.rot90(x, 1, (2, 3))),
    "unfold": (MAP, lambda x: F.unfold(x, (2, 3), padding=1, stride=(1, 2))),
    "fold": ((8, 12), lambda x: F.fold(x, (6, 8), (2, 2), stride=(2, 2))),
    "windows": (MAP, lambda x: x.unfold(3, 3, 2).mean(-1)),
    "tril": (ROWS, lambda x: (x @ x.transpose(1, 2)).tril()),
    "elu_family": (MAP, lambda x: F.celu(x, 1.5) + F.selu(x) + F.elu(x, 0.5)),
    "shrinks": (MAP, lambda x: F.hardshrink(x) + F.softshrink(x) + F.tanhshrink(x)),
    "threshold": (MAP, lambda x: F.threshold(x, 0.1, -1.0)),
    "hard": (MAP, lambda x: F.hardswish(x) + F.hardsigmoid(x) + F.hardtanh(x, -2, 1)),
    "soft": (MAP, lambda x: F.softsign(x) + F.softplus(x, 2) + F.logsigmoid(x) + F.mish(x)),
    "softmin": (MAP, lambda x: F.softmin(x, 1)),
    "largest_of_all": (MAP, lambda x: x / x.abs().amax((1, 2, 3), keepdim=True)),
    "variances": (MAP, lambda x: (x - x.mean((2, 3), True)) / (x.std((2, 3), keepdim=True) + 1)),
    "var_mean": (MAP, lambda x: torch.var_mean(x, (2, 3))[0]),
    "einsum": (ROWS, lambda x: torch.einsum("btc,bsc->bts", x, x)),
    "einsum_by_numbers": (
        ROWS,
        lambda x: torch.einsum(
            "btc,tdc->bd", x, torch.linspace(-1, 1, x[0].numel() * 3).view(x.size(1), 3, x.size(2))
        ),
    ),
    "distances": ((16, 6, 8), lambda x: _distances(x)),
    "tokens_first": (ROWS, lambda x: _tokens_first(x)),
    "batch_in_groups": (MAP, lambda x: _batch_in_groups(x)),
    "class_token": (
        ROWS,
        lambda x: torch.cat([torch.ones(1, 1, 12).expand(x.size(0), -1, -1), x], 1),
    ),
    "several_indices": (MAP, lambda x: x[:, :, torch.tensor([0, 2, 5]), torch.tensor([1, 1, 7])]),
    "index_rows": (MAP, lambda x: x[:, torch.tensor([3, 0, 2, 2])]),
    "roll": (MAP, lambda x: x.roll((1, -2), (2, 3))),
    "stack": (MAP, lambda x: torch.stack([x, -x], 2).flatten(1, 2)),
    "repeat": (MAP, lambda x: x.repeat(1, 2, 1, 2)),
    "repeat_interleave": (MAP, lambda x: x.repeat_interleave(2, 1)),
    "movedim": (MAP, lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1)),
    "squeeze": (MAP, lambda x: x.mean((2, 3), keepdim=True).squeeze()),
    "whole_numbers": (MAP, lambda x: x + (torch.arange(8) // 2 * 2 + 1 > 3)),
    "autocast_off": (MAP, lambda x: _autocast_off(x)),
    "clamp_tensor": (MAP, lambda x: x.clamp(min=torch.full((1,), -0.5), max=x.abs())),
    "distance": (ROWS, lambda x: torch.cdist(x, x + 1)),
    "upsample_odd": (MAP, lambda x: F.interpolate(x, (9, 11), mode="nearest")),
}


def _changed_in_place(x: torch.Tensor) -> torch.Tensor:
    mask = x.new_zeros((6, 8))
    mask[1:3, 2:] = 3.0
    y = x * 2
    part = y[:, :2]
    part.add_(1)
    y.relu_()
    return y + mask


def _distances(x: torch.Tensor) -> torch.Tensor:
    """Sides of boxes as expected values of shares, from the middle of each place (YOLO v8)."""
    batch, channels = x.shape[:2]
    each = channels // 4
    steps = torch.arange(float(each)).view(1, each, 1, 1)
    places = x.flatten(2)
    shares = places.view(batch, 4, each, -1).transpose(1, 2).softmax(1)
    sides = F.conv2d(shares, steps).view(batch, 4, -1)
    before, behind = sides.chunk(2, 1)
    middles = torch.arange(2.0 * places.size(2)).view(1, 2, -1) / 8
    first, second = middles - before, middles + behind
    return torch.cat([(first + second) / 2, second - first], 1)


def _tokens_first(x: torch.Tensor) -> torch.Tensor:
    tokens = x.transpose(0, 1)  # the batch is the second axis
    parts = tokens.unflatten(-1, (3, 4)).unsqueeze(0).transpose(0, -2).squeeze(-2)
    q, k, v = parts[0], parts[1], parts[2]
    heads = q.reshape(5, x.size(0) * 2, 2).transpose(0, 1)
    scores = torch.bmm(heads, k.reshape(5, x.size(0) * 2, 2).permute(1, 2, 0)).softmax(-1)
    mixed = scores @ v.reshape(5, x.size(0) * 2, 2).transpose(0, 1)
    return mixed.transpose(0, 1).reshape(5, x.size(0), 4).transpose(0, 1)


def _batch_in_groups(x: torch.Tensor) -> torch.Tensor:
    b, c = x.shape[:2]
    patches = x.reshape(b * c * 3, 2, 4, 2).transpose(1, 2).reshape(b, c, 12, 4)
    patches = patches.transpose(1, 3).reshape(b * 4, 12, c)
    q, k = patches.reshape(b * 4, 12, 2, 1, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ k
    return mixed.reshape(b, 4, 12, c // 2)


def _autocast_off(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return x.float() * 2 + 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    shape, function = FUNCTIONS[name]
    check_float(Function(function), inputs_for([shape]))


@pytest.mark.parametrize("name", ["where", "channel_shuffle", "flip", "glu", "unfold", "normalize"])
def test_function_between_layers_in_int8(name: str) -> None:
    shape, function = FUNCTIONS[name]
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), Function(function))
    assert check_int8(network, inputs_for([shape])) > 0.98
