"""Branches of a join that others read keep a scale of their own."""

from __future__ import annotations

import copy

import pytest
import torch
from operator_fixtures import check_int8
from torch import Tensor, nn

from edgeticket.pipeline.quantize import (
    calibrate,
    exact_share,
    fake_quantized,
    fold_bn,
    joins,
    quantize,
)
from edgeticket.pipeline.quantize.qat import finish, fixed, moving, settle
from edgeticket.pipeline.quantize.write_back import write_layers
from edgeticket.pipeline.recipe import Ptq, Qat

TAKES = (3, 8, 8)
PTQ = Ptq(method="ptq")
STEP = "relu_to_cat"


class Joined(nn.Module):
    """Small numbers, that a layer reads, joined with large ones."""

    def __init__(self, *, read: bool = True, small: float = 0.1) -> None:
        super().__init__()
        self.read = read
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.reader, self.last = nn.Conv2d(4, 2, 1), nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.first.weight *= small
            self.reader.weight /= small

    def forward(self, x: Tensor) -> Tensor:
        small = torch.relu(self.first(x))
        found: Tensor = self.last(torch.cat([small, self.second(x)], 1))
        return found + self.reader(small) if self.read else found


def built(**how: object) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Joined(**how).eval(), torch.randn(16, *TAKES)  # type: ignore[arg-type]


def noise(module: nn.Module, x: Tensor) -> float:
    folded = fold_bn(module, TAKES)
    with torch.no_grad():
        rounded = fake_quantized(folded, calibrate(folded, [x], PTQ))(x)
        return float((rounded - module(x)).square().mean())


def test_other_readers_see_it_as_fine_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = built()
    scales = calibrate(module, [x], PTQ)
    assert STEP in scales.weights
    assert scales.activations[STEP] == scales.activations["second"]
    assert scales.activations["relu"].scale * 5 < scales.activations["second"].scale
    better = noise(module, x)
    monkeypatch.setattr(joins, "COARSER", 1e9)
    assert better < 0.8 * noise(module, x)


@pytest.mark.parametrize("how", [{"read": False}, {"small": 2.0}])
def test_nothing_is_inserted_where_that_would_not_help(how: dict[str, object]) -> None:
    module, x = built(**how)
    assert STEP not in calibrate(module, [x], PTQ).weights


class JoinedTwice(nn.Module):
    """Two small ones joined; what a pool makes of that is read, and joined with a large one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.large = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.reader, self.last = nn.Conv2d(8, 2, 1), nn.Conv2d(12, 2, 1)
        with torch.no_grad():
            self.large.weight *= 10
            self.large.bias *= 10

    def forward(self, x: Tensor) -> Tensor:
        small = torch.cat([self.first(x), self.second(x)], 1)
        pooled = self.pool(small)
        both = self.last(torch.cat([pooled, self.pool(self.large(x))], 1))
        found: Tensor = both + self.pool(self.reader(small))
        return found


def test_a_join_that_is_joined_again_keeps_its_scale() -> None:
    torch.manual_seed(0)
    module, x = JoinedTwice().eval(), torch.randn(16, *TAKES)
    scales = calibrate(module, [x], PTQ).activations
    assert scales["first"].scale * 5 < scales["large"].scale
    assert scales["second"].scale * 5 < scales["large"].scale
    assert check_int8(module, [x]) == 1.0


def test_both_runtimes_give_equal_codes() -> None:
    module, x = built()
    assert check_int8(module, [x]) == 1.0


@pytest.mark.parametrize("rounding", ["nearest", "adaround"])
def test_its_weight_never_moves_and_the_others_go_back(rounding: str) -> None:
    module, x = built()
    cfg = Ptq(method="ptq", rounding=rounding, bias_correction=True)  # type: ignore[arg-type]
    start = quantize(module, [x], cfg)
    learnt = moving(start, Qat(method="qat"))
    settled = settle(learnt, start)
    trained = fixed(settled)
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.01)
    trained(x).square().mean().backward()
    optimizer.step()
    done = finish(trained, settled)
    assert done.folded.get_submodule(STEP).weight.unique().tolist() == [1.0]
    written = copy.deepcopy(module)
    write_layers(written, fold_bn(module, TAKES), done.folded)
    with torch.no_grad():
        torch.testing.assert_close(written(x), done.folded(x))
        again = fake_quantized(fold_bn(written, TAKES), done.scales)
        assert torch.equal(again(x), fake_quantized(done.folded, done.scales)(x))
    assert 0 < exact_share(fold_bn(written, TAKES), done.scales) <= 1
