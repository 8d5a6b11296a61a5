"""A network is captured once; whatever could make it another one has it captured again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.graph import remembered as memory
from edgeticket.pipeline.graph.graph import Constant, Graph
from edgeticket.pipeline.quantize import fold_bn

TAKES = (1, 6, 6)


class Scaled(nn.Module):
    """Its factor is an attribute that neither its state nor its description shows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.flatten(self.norm(self.conv(x)) * self.factor, 1)
        return out


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that were captured, in order; none is remembered at first."""
    seen: list[nn.Module] = []
    monkeypatch.setattr(memory, "_graphs", memory._graphs.copy())
    memory._graphs.clear()
    from edgeticket.pipeline.quantize import fold

    capture = fold.capture

    def spy(module: nn.Module, takes: tuple[int, ...]) -> Graph:
        seen.append(module)
        return capture(module, takes)

    monkeypatch.setattr(fold, "capture", spy)
    return seen


def scaled(factor: float = 2.0) -> Scaled:
    torch.manual_seed(0)
    return Scaled(factor).eval()


def weight_moved(module: Scaled) -> None:
    with torch.no_grad():
        module.conv.weight[0, 0, 0, 0] += 1e-6


def statistics_moved(module: Scaled) -> None:
    module.norm.running_mean[0] += 1e-6


def attribute_changed(module: Scaled) -> None:
    module.factor = 3.0


def setting_changed(module: Scaled) -> None:
    module.norm.eps = 1e-3


def layer_replaced(module: Scaled) -> None:
    module.norm.__class__ = type("BatchNorm2d", (nn.BatchNorm2d,), {"__module__": __name__})


CHANGES = (weight_moved, statistics_moved, attribute_changed, setting_changed, layer_replaced)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_captured(
    change: Callable[[Scaled], None], captured: list[nn.Module]
) -> None:
    x = torch.randn(3, *TAKES)
    module = scaled()
    fold_bn(module, TAKES)
    fold_bn(scaled(), TAKES)  # another object, but equal
    assert len(captured) == 1
    change(module)
    found = fold_bn(module, TAKES)
    assert len(captured) == 2
    torch.testing.assert_close(found(x), module(x))


def test_another_size_is_captured(captured: list[nn.Module]) -> None:
    conv = nn.Conv2d(1, 2, 3).eval()
    for takes in ((1, 6, 6), (1, 7, 6), (1, 6, 6)):
        fold_bn(conv, takes)
    assert len(captured) == 2


def test_what_becomes_of_one_folding_does_not_reach_the_next(captured: list[nn.Module]) -> None:
    first = fold_bn(scaled(), TAKES)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    x = torch.randn(3, *TAKES)
    torch.testing.assert_close(fold_bn(scaled(), TAKES)(x), scaled()(x))
    assert len(captured) == 1


def test_functions_without_a_name_are_never_remembered(captured: list[nn.Module]) -> None:
    module = scaled()
    module.extra = lambda x: x  # type: ignore[assignment]
    for _ in range(2):
        fold_bn(module, TAKES)
    assert len(captured) == 2


def test_memory_is_bounded() -> None:
    def of(size: int) -> Graph:
        return Graph((), (), (), {}, {"w": Constant(np.zeros(size, np.float32))})

    before = dict(memory._graphs)
    try:
        for i in range(memory.KEPT + 3):
            memory.remembered(nn.Linear(1, 1), i, lambda: of(1))
        assert len(memory._graphs) == memory.KEPT
        half = memory.LARGEST // 2 + 1
        for i in range(2):  # no two of these at once
            memory.remembered(nn.Linear(1, 1), ("half", i), lambda: of(half))
        assert len(memory._graphs) == 1
        linear = nn.Linear(1, 1)
        large = memory.remembered(linear, "large", lambda: of(memory.LARGEST + 1))
        assert all(graph is not large for graph in memory._graphs.values())
    finally:
        memory._graphs.clear()
        memory._graphs.update(before)


def test_a_network_that_is_made_anew_is_the_same(captured: list[nn.Module]) -> None:
    network = Network.fresh("digits_cnn", {"width": 4}, seed=0)
    folded = [fold_bn(network.module(), network.input_shape) for _ in range(2)]
    assert len(captured) == 1
    x = torch.randn(2, *network.input_shape)
    assert torch.equal(folded[0](x), folded[1](x))
