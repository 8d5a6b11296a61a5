"""Inputs and outputs of all kinds: several, nested, doubled, stored, of whole numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.capture import capture
from tests.fixtures.operator_fixtures import Function, check_float, check_int8, inputs_for

MAP = (4, 6, 8)
OUTPUTS: dict[str, Any] = {
    "dictionary": lambda x: {"a": x * 2, "b": x.mean((2, 3))},
    "nested": lambda x: (x.relu(), [x.sigmoid(), {"last": (x.flatten(1),)}], None),
    "doubled": lambda x: (lambda y: (y, y, y))(x.tanh()),
    "input": lambda x: (x, x.relu()),
    "input_alone": lambda x: x,
    "stored": lambda x: (x.relu(), torch.arange(6.0).reshape(1, 6)),
    "view": lambda x: (lambda y: (y, y.flatten(1), y.flatten(1)))(x.relu()),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name: str) -> None:
    module, inputs = Function(OUTPUTS[name]), inputs_for([MAP])
    if name == "stored":  # it is one for the whole batch in torch
        assert len(capture(module, MAP).outputs) == 2
        inputs = [inputs[0][:1]]
    check_float(module, inputs)


@pytest.mark.parametrize("name", ["dictionary", "doubled", "input", "nested"])
def test_outputs_in_int8(name: str) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 4, 1), Function(OUTPUTS[name]))
    assert check_int8(layers, inputs_for([MAP])) > 0.98


def test_several_inputs() -> None:
    def function(x: Tensor, row: Tensor) -> Tensor:
        return x * row.sigmoid()[:, :, None, None] + row.mean(1).reshape(-1, 1, 1, 1)

    check_float(Function(function), inputs_for([MAP, (4,)]))


class Tokens(nn.Module):
    """Whole numbers -> rows of a table, their places, and a mask of what is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(20, 8), nn.Parameter(torch.randn(7, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.places
        present = (tokens != 0).float().unsqueeze(-1)
        return self.head((x * present).sum(1) / present.sum(1).clamp(min=1))


def test_whole_numbers_as_input() -> None:
    torch.manual_seed(0)
    check_float(Tokens(), inputs_for([(7,)], whole=20))


def test_whole_and_real_inputs_together() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = Tokens()

        def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
            return x + self.tokens(tokens)

    graph = capture(Both(), [(3,), (7,)])
    assert [graph.values[name].dtype for name in graph.inputs] == ["float32", "int64"]


REFUSED: dict[str, tuple[Any, str]] = {
    "topk": (lambda x: x.topk(2, 1)[0], "behind the network"),
    "sort": (lambda x: x.sort(1)[0], "behind the network"),
    "scatter": (lambda x: x.scatter(1, x.argmax(1, True), 1.0), "writes to places"),
    "random": (lambda x: x + torch.rand_like(x), "random"),
    "bicubic": (
        lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bicubic"),
        "use bilinear",
    ),
    "grid": (lambda x: nn.functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1)), "samples"),
    "volume": (lambda x: nn.functional.max_pool3d(x.unsqueeze(1), 2), "volumes"),
    "fourier": (lambda x: torch.fft.rfft(x).abs(), "Fourier"),
    "example": (lambda x: x[0], "one example of the batch"),
    "whole_batch": (lambda x: x - x.mean(0, keepdim=True), "over the batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_says_what_to_do(name: str) -> None:
    function, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        capture(Function(function), MAP)
