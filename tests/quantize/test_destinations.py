"""New weights reach whatever part of a network stores them; what cannot have any is frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.quantize import fake_quantized, fold_bn, quantize
from edgeticket.pipeline.quantize.destinations import Destination, destinations
from edgeticket.pipeline.quantize.qat import finish, fixed, freeze, moving, settle
from edgeticket.pipeline.quantize.write_back import write_layers
from edgeticket.pipeline.recipe import Ptq, Qat

TAKES = (3, 8, 8)
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # the old one
EVERYTHING = Ptq(method="ptq", rounding="adaround", equalise=True, bias_correction=True)


class Between(nn.Module):
    """Two usual layers, and between them what is tried."""

    def __init__(self, inner: nn.Module, channels: int = 4) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 4, 3), inner
        self.last = nn.Conv2d(channels, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.inner(self.first(x)))
        return result


class Functional(nn.Module):
    """A convolution whose weight is a parameter of another kind of module."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel)


class Attention(nn.Module):
    """Positions that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        answer, _ = self.looks(tokens, tokens, tokens, need_weights=False)
        return answer.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class TwoNorms(nn.Module):
    """A convolution that is called twice, each time with another norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(4, 4, 1), norm(), norm()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.two(self.conv(F.relu(self.one(self.conv(x)))))
        return result


class AlsoAFactor(nn.Module):
    """A convolution whose weight is a factor, too."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x * self.kernel, 1) * F.conv2d(x, self.kernel)


class Halved(nn.Module):
    """A transposed convolution that is multiplied by stored numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) * torch.tensor([0.5, 2.0, -1.0, 3.0]).reshape(4, 1, 1)  # type: ignore[no-any-return]


def norm() -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(4)
    nn.init.uniform_(made.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    nn.init.normal_(made.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(made.weight, 0.5, 2.0)
    return made


STORED: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
    "old weight_norm": lambda: nn.utils.weight_norm(nn.Conv2d(4, 4, 3)),
    "norm alone": lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), norm()),
    "functional": Functional,
    "attention": Attention,
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 2, 2),
    "transposed, overlapping": lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, 1),
    "transposed, stride 1": lambda: nn.ConvTranspose2d(4, 4, 3, bias=False),
    "transposed, unlike strides": lambda: nn.ConvTranspose2d(4, 4, (3, 2), (2, 1)),
    "transposed, groups": lambda: nn.ConvTranspose2d(4, 4, 3, 2, groups=2),
    "transposed with a norm": lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2), norm()),
    "transposed and scaled": Halved,
}

FROZEN: dict[str, Callable[[], nn.Module]] = {
    "two norms": TwoNorms,
    "also a factor": AlsoAFactor,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
    "norm alone, bare": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4, affine=False)),
}


def built(kinds: dict[str, Callable[[], nn.Module]], kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Between(kinds[kind]()).eval(), torch.randn(8, *TAKES)


def trained(module: fx.GraphModule, x: Tensor, wanted: Tensor, steps: int = 3) -> fx.GraphModule:
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        (module(x) - wanted).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval()


@pytest.mark.parametrize("kind", STORED)
def test_moved_weights_come_back_when_the_network_is_folded_again(kind: str) -> None:
    module, x = built(STORED, kind)
    original = fold_bn(module, TAKES)
    places = destinations(module, original)
    assert all(isinstance(place, Destination) for place in places.values()), places
    done = quantize(module, [x], EVERYTHING)
    written, _ = built(STORED, kind)
    write_layers(written, original, done.folded)
    with torch.no_grad():
        assert not torch.allclose(written(x), module(x), atol=1e-6)
        torch.testing.assert_close(written(x), done.folded(x), rtol=1e-4, atol=1e-5)
    again = fold_bn(written, TAKES)
    with torch.no_grad():
        rounded = fake_quantized(done.folded, done.scales)(x)
        apart = (fake_quantized(again, done.scales)(x) - rounded).abs() / rounded.abs().max()
    assert float((apart > 1e-6).double().mean()) < 0.002  # codes of a bias of last-bit errors


@pytest.mark.parametrize("ranges", ["learned", "averaged"])
@pytest.mark.parametrize("kind", STORED)
def test_what_was_trained_is_what_the_network_becomes(kind: str, ranges: str) -> None:
    module, x = built(STORED, kind)
    original = fold_bn(module, TAKES)
    with torch.no_grad():
        wanted = module(x) * 1.2
    start = quantize(module, [x], Ptq(method="ptq"))
    cfg = Qat(method="qat", ranges=ranges)  # type: ignore[arg-type]
    settled = settle(trained(moving(start, cfg).train(), x, wanted), start)
    done = finish(trained(fixed(settled).train(), x, wanted), settled)
    for name in done.scales.weights:
        before, after = (m.get_submodule(name) for m in (start.folded, done.folded))
        assert not torch.equal(before.weight, after.weight), name  # every layer learned
        assert not after.weight[before.weight == 0].any()  # what does not exist stays 0
    written, _ = built(STORED, kind)
    write_layers(written, original, done.folded)
    with torch.no_grad():
        trained_answer = fake_quantized(done.folded, done.scales)(x)
        answer = fake_quantized(fold_bn(written, TAKES), done.scales)(x)
    apart = (answer - trained_answer).abs() / trained_answer.abs().max()
    assert float((apart > 1e-6).double().mean()) < 0.002


@pytest.mark.parametrize("kind", FROZEN)
def test_layers_without_a_place_are_frozen_and_the_rest_moves(kind: str) -> None:
    module, x = built(FROZEN, kind)
    original = fold_bn(module, TAKES)
    places = destinations(module, original)
    frozen = {name for name, place in places.items() if isinstance(place, InputError)}
    assert frozen
    assert not frozen & {"first", "last"}
    moved = quantize(module, [x], EVERYTHING)
    with pytest.raises(InputError, match="cannot be written back"):
        write_layers(built(FROZEN, kind)[0], original, moved.folded)
    done = quantize(module, [x], EVERYTHING, frozen=frozen)
    learnt = freeze(fixed(done), frozen)
    after = finish(trained(learnt.train(), x, torch.zeros(())), done)
    for name in frozen:
        before = original.get_submodule(name).weight
        assert torch.equal(after.folded.get_submodule(name).weight, before)
    written, _ = built(FROZEN, kind)
    write_layers(written, original, after.folded)
    with torch.no_grad():
        torch.testing.assert_close(written(x), after.folded(x), rtol=1e-4, atol=1e-5)
    assert not torch.equal(written.last.weight, module.last.weight)
