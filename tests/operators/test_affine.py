"""Stored factors and shifts become part of layers, so that int8 files compute them on codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeticket.pipeline.graph.capture import capture
from edgeticket.pipeline.graph.fold import fold
from tests.fixtures.operator_fixtures import Function, check_float, check_int8, inputs_for

COLUMN = torch.linspace(0.2, 1.7, 6).reshape(6, 1, 1)


class Scaled(nn.Module):
    """A layer, what is done to its output, and a layer that reads that."""

    def __init__(self, first: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.function = first, function
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def conv() -> nn.Module:
    return nn.Conv2d(4, 6, 3, padding=1)


class Rows(nn.Module):
    """A linear layer over channels, and those back to the front."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


INTO_LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any]]] = {
    "number": (conv, lambda x: x * 2),
    "shift": (conv, lambda x: 0.5 - x),
    "quotient": (conv, lambda x: (x - 0.3) / 1.7),
    "column": (conv, lambda x: x * COLUMN + COLUMN.flip(0)),
    "negative": (lambda: nn.Conv2d(4, 6, 1, bias=False), lambda x: -x),
    "norm": (lambda: nn.Sequential(conv(), nn.BatchNorm2d(6)), lambda x: x * COLUMN),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), lambda x: x * COLUMN),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 2, 2, groups=2), lambda x: x * COLUMN),
    "rows": (Rows, lambda x: x * COLUMN),
    "reshaped": (conv, lambda x: (x.flatten(2) * 3).unflatten(2, (6, 8))),
}
BETWEEN: dict[str, Callable[..., Any]] = {
    "branches": lambda x: x * 2 + x,
    "behind_relu": lambda x: F.relu(x) / 3,
    "column": lambda x: F.relu(x) * COLUMN - 0.25,
    "pooled": lambda x: F.max_pool2d(F.relu6(x), 2) + COLUMN,
    "resized": lambda x: F.interpolate(x, scale_factor=2, mode="nearest") * 0.5,
}
GATES: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: F.relu6(x + 3) / 6,
    "swish": lambda x: x * (F.relu6(x + 3) * (1 / 6)),
    "swish_last": lambda x: x * F.relu6(x + 3) / 6,
}


@pytest.mark.parametrize("name", INTO_LAYERS)
def test_nothing_is_left_behind_a_layer(name: str) -> None:
    torch.manual_seed(0)
    first, function = INTO_LAYERS[name]
    module = Scaled(first(), function).eval()
    kinds = {op.kind for op in fold(capture(module, (4, 6, 8))).operators}
    assert not kinds & {"Add", "Sub", "Mul", "Div", "Neg"}
    inputs = inputs_for([(4, 6, 8)])
    check_float(module, inputs)
    assert check_int8(module, inputs) == 1.0


@pytest.mark.parametrize("name", BETWEEN)
def test_between_integer_steps_it_is_a_convolution(name: str) -> None:
    torch.manual_seed(0)
    module = Scaled(conv(), BETWEEN[name]).eval()
    graph = fold(capture(module, (4, 6, 8)))
    assert all(n in graph.values for op in graph.operators if op.kind == "Add" for n in op.inputs)
    assert not {op.kind for op in graph.operators} & {"Sub", "Mul", "Div", "Neg"}
    inputs = inputs_for([(4, 6, 8)])
    check_float(module, inputs)
    assert check_int8(module, inputs) > 0.98


@pytest.mark.parametrize("name", GATES)
def test_hard_sigmoids_written_out(name: str) -> None:
    torch.manual_seed(0)
    module = Scaled(conv(), GATES[name]).eval()
    kinds = [op.kind for op in fold(capture(module, (4, 6, 8))).operators]
    assert kinds.count("HardSigmoid") == 1
    assert not {"Add", "Div", "Clip"}.intersection(kinds)
    inputs = inputs_for([(4, 6, 8)])
    check_float(module, inputs)
    assert check_int8(module, inputs) > 0.98


def test_what_float_steps_read_stays_as_it_is() -> None:
    graph = fold(capture(Function(lambda x: (x.sigmoid() * 4).softmax(1)), (4, 6, 8)))
    assert [op.kind for op in graph.operators].count("Mul") == 1


def test_preprocessing_at_the_input() -> None:
    mean = torch.tensor([0.5, 0.4, 0.3, 0.2]).reshape(1, 4, 1, 1)
    module = nn.Sequential(Function(lambda x: (x - mean) / 0.25), nn.Conv2d(4, 3, 3, padding=1))
    inputs = inputs_for([(4, 6, 8)])
    check_float(module, inputs)
    assert check_int8(module, inputs) == 1.0


def test_numbers_that_are_not_finite_stay_as_they_are() -> None:
    graph = fold(capture(Function(lambda x: x * float(np.inf)), (4, 6, 8)))
    assert [op.kind for op in graph.operators] == ["Mul"]
