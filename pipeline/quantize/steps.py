"""The steps of a folded graph, and the kinds of them that quantisation knows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError


class Step(nn.Module):
    """A function of the traced graph as a module, so that it has a name that survives export.

    Called with the values that flow in; where they go among the constants is kept here.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        """``args`` and ``kwargs`` hold a `Slot` for each value that flows, at any depth."""
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, *values: Any) -> Any:
        def fill(argument: Any) -> Any:
            return values[argument.index] if isinstance(argument, Slot) else argument

        args: Any = fx.node.map_aggregate(self.args, fill)
        kwargs: Any = fx.node.map_aggregate(self.kwargs, fill)
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class Slot:
    """Stands for input ``index`` of a `Step` among its constants."""

    index: int


def kind(module: nn.Module) -> Any:
    """What a step of a folded graph does: a function, or the class of the module."""
    return module.function if isinstance(module, Step) else type(module)


Layer = nn.Conv1d | nn.Conv2d | nn.Linear


class Role(Enum):
    """How a kind of step is quantised."""

    LAYER = "weights and bias are rounded, the output has a scale of its own"
    SUM = "the scales of both inputs and of the output are aligned"
    OWN = "the output has a scale of its own"
    PRODUCT = "as OWN, of two tensors"
    UNIT = "the output is in 0..1 and has a scale of its own, whatever the data"
    CLAMP = "the output has the scale of the input, or it shares one with the step before it"
    SAME = "numbers of the input, unchanged: the scale of the input"
    JOIN = "numbers of all inputs, unchanged: one scale for all of them"
    REAL = "computed in float32; the output is rounded only where a layer reads it"
    SIZE = "no tensor but its shape; what is computed from shapes alone is no tensor either"


def role(module: nn.Module) -> Role | None:
    """How a step is quantised; None if that is not known."""
    return ROLES.get(kind(module))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`F.scaled_dot_product_attention` in plain operators: [..., tokens, size] each -> the same.

    Raises:
        InputError: a mask, dropout or grouped heads.
    """
    if attn_mask is not None or is_causal or dropout_p or enable_gqa:
        raise InputError(
            "attention with a mask, dropout or grouped heads cannot be converted; leave them out"
        )
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    return torch.softmax(scaled @ key.transpose(-2, -1), -1) @ value


# What a traced function is replaced by, because one that is fused is exported differently.
PLAIN: dict[Any, Callable[..., Any]] = {F.scaled_dot_product_attention: attention}

HARD_SWISHES: frozenset[Any] = frozenset({nn.Hardswish, F.hardswish})
# Clamps that a positive factor can pass: relu(s·x) = s·relu(x).
RECTIFIERS: frozenset[Any] = frozenset({nn.ReLU, F.relu, torch.relu, Tensor.relu, Tensor.relu_})
MAXIMA: frozenset[Any] = frozenset({nn.MaxPool2d, F.max_pool2d, torch.max_pool2d})


def _all(kinds: Iterable[Any], role: Role) -> dict[Any, Role]:
    return dict.fromkeys(kinds, role)


ROLES: dict[Any, Role] = {
    **_all([nn.Conv1d, nn.Conv2d, nn.Linear], Role.LAYER),
    **_all([operator.add, operator.iadd, torch.add, Tensor.add], Role.SUM),
    **_all([nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d, nn.AvgPool2d, F.avg_pool2d], Role.OWN),
    **_all([torch.mean, Tensor.mean], Role.OWN),
    **_all(RECTIFIERS, Role.CLAMP),
    **_all([nn.ReLU6, F.relu6, nn.Hardtanh, F.hardtanh], Role.CLAMP),
    **_all([operator.mul, operator.imul, torch.mul, Tensor.mul], Role.PRODUCT),
    **_all([nn.Hardsigmoid, F.hardsigmoid], Role.UNIT),
    **_all(MAXIMA, Role.SAME),
    **_all([nn.Flatten, torch.flatten, Tensor.flatten], Role.SAME),
    **_all([torch.reshape, Tensor.reshape, Tensor.view], Role.SAME),
    **_all([torch.transpose, Tensor.transpose, torch.permute, Tensor.permute], Role.SAME),
    **_all([nn.Unflatten, torch.unflatten, Tensor.unflatten, Tensor.expand], Role.SAME),
    **_all([torch.chunk, Tensor.chunk, torch.split, Tensor.split, operator.getitem], Role.SAME),
    **_all([torch.unbind, Tensor.unbind], Role.SAME),
    **_all([Tensor.contiguous, F.pad, nn.ZeroPad2d], Role.SAME),
    **_all([torch.cat, torch.concat], Role.JOIN),
    **_all([nn.LayerNorm, F.layer_norm, nn.GELU, F.gelu, attention], Role.REAL),
    **_all([nn.Softmax, torch.softmax, F.softmax, Tensor.softmax], Role.REAL),
    **_all([torch.matmul, torch.bmm, operator.matmul, Tensor.matmul], Role.REAL),
    **_all([Tensor.size, getattr], Role.SIZE),
}
