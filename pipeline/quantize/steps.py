"""The steps of a folded graph, and the kinds of them that quantisation knows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Step(nn.Module):
    """A function of the traced graph as a module, so that it has a name that survives export.

    Called with the tensors that flow in; the constants behind them are kept here.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, *tensors: Any) -> Any:
        return self.function(*tensors, *self.args, **self.kwargs)


def kind(module: nn.Module) -> Any:
    """What a step of a folded graph does: a function, or the class of the module."""
    return module.function if isinstance(module, Step) else type(module)


LAYERS: frozenset[Any] = frozenset({nn.Conv2d, nn.Linear})
ADDITIONS: frozenset[Any] = frozenset({operator.add, operator.iadd, torch.add, Tensor.add})
AVERAGES: frozenset[Any] = frozenset(
    {
        nn.AdaptiveAvgPool2d,
        nn.AvgPool2d,
        F.adaptive_avg_pool2d,
        F.avg_pool2d,
        torch.mean,
        Tensor.mean,
    }
)
# Clamps that a positive factor can pass: relu(s·x) = s·relu(x).
RECTIFIERS: frozenset[Any] = frozenset({nn.ReLU, F.relu, torch.relu, Tensor.relu, Tensor.relu_})
CLAMPS: frozenset[Any] = RECTIFIERS | frozenset({nn.ReLU6, nn.Hardtanh, F.relu6, F.hardtanh})
MAXIMA: frozenset[Any] = frozenset({nn.MaxPool2d, F.max_pool2d, torch.max_pool2d})
# Values that came in go out, so that their codes can stay. Sizes are here as well, because
# reshaping reads them.
REARRANGEMENTS: frozenset[Any] = MAXIMA | frozenset(
    {
        nn.Flatten,
        torch.flatten,
        torch.reshape,
        Tensor.flatten,
        Tensor.reshape,
        Tensor.view,
        Tensor.size,
        getattr,
        operator.getitem,
    }
)
