"""Channels are followed through every kind of block: masked and narrow are the same function."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgeticket import models
from edgeticket.models.network import Network
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.prune.channels import Channels, follow_channels
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.mask import Mask, channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.tickets.expected_cost import EXPECTED

SIZE = 8  # of inputs, in pixels


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Dense(nn.Module):
    """Channels are added behind those that are there."""

    def __init__(self, channels: int, more: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, more, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


class Halves(nn.Module):
    """One half passes as it is, the other is worked on; then all are read."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.conv = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)
        self.after = nn.Conv2d(3 * channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.before(x).chunk(2, 1)
        return self.after(torch.cat([first, second, self.conv(second)], 1))  # type: ignore[no-any-return]


class Shuffle(nn.Module):
    """Channels of groups take turns, as a view and a permutation."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.conv(x)  # type: ignore[no-any-return]


class Scaled(nn.Module):
    """A learned scale and shift of each channel, which are the module's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def depthwise(channels: int, times: int = 1) -> nn.Module:
    return nn.Conv2d(channels, channels * times, 3, padding=1, groups=channels)


def conv(inputs: int, outputs: int, **settings: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, **settings), nn.ReLU())


def normed(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.Hardswish(),
    )


Block = tuple[Callable[[int], nn.Module], Callable[[int], int]]
"""Makes a block for so many channels, a multiple of 8; and how many it gives."""

BLOCKS: dict[str, Block] = {
    "conv": (lambda c: conv(c, 16), lambda c: 16),
    "batch norm": (normed, lambda c: c),
    "residual": (lambda c: Residual(normed(c), conv(c, c)), lambda c: c),
    "depthwise": (lambda c: nn.Sequential(depthwise(c), nn.BatchNorm2d(c)), lambda c: c),
    "depthwise multiplier": (lambda c: depthwise(c, 2), lambda c: 2 * c),
    "few groups": (lambda c: conv(c, 16, groups=2), lambda c: 16),
    "many groups": (lambda c: conv(c, 2 * c, groups=c // 2), lambda c: 2 * c),
    "gate": (Gate, lambda c: c),
    "dense": (lambda c: Dense(c, 8), lambda c: c + 8),
    "halves": (Halves, lambda c: c),
    "shuffle": (lambda c: Shuffle(c, 2), lambda c: c),
    "scaled": (Scaled, lambda c: c),
    "prelu": (nn.PReLU, lambda c: c),
    "instance norm": (lambda c: nn.InstanceNorm2d(c, affine=True), lambda c: c),
    "group norm": (lambda c: nn.GroupNorm(4, c), lambda c: c),
    "transposed": (lambda c: nn.ConvTranspose2d(c, 8, 2, stride=2), lambda c: 8),
    "transposed groups": (
        lambda c: nn.ConvTranspose2d(c, c, 3, padding=1, groups=2),
        lambda c: c,
    ),
    "transposed depthwise": (
        lambda c: nn.ConvTranspose2d(c, c, 3, padding=1, groups=c),
        lambda c: c,
    ),
    "pixel shuffle": (
        lambda c: nn.Sequential(nn.Conv2d(c, 32, 1), nn.PixelShuffle(2)),
        lambda c: 8,
    ),
    "pixel unshuffle": (
        lambda c: nn.Sequential(nn.Conv2d(c, 8, 1), nn.PixelUnshuffle(2)),
        lambda c: 32,
    ),
    "pool": (lambda c: nn.MaxPool2d(3, 1, 1), lambda c: c),
    "sigmoid": (lambda c: nn.Sigmoid(), lambda c: c),
    "layer norm": (lambda c: Permuted(nn.LayerNorm(c)), lambda c: c),
}


class Permuted(nn.Module):
    """A layer over the channels, last for the while."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Net(nn.Module):
    """Blocks between a convolution and a linear layer, before which maps are flattened or not."""

    def __init__(self, names: list[str], *, flatten: bool) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        blocks, channels = [], 16
        for name in names:
            make, gives = BLOCKS[name]
            blocks.append(make(channels))
            channels = gives(channels)
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(2 if flatten else 1)
        self.head = nn.Sequential(nn.Linear(channels * (4 if flatten else 1), 12), nn.GELU())
        self.classes = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.blocks(self.stem(x)))
        return self.classes(self.head(x.flatten(1)))  # type: ignore[no-any-return]


def one_block(*, block: int = 1) -> nn.Module:
    return Net([list(BLOCKS)[block - 1], "conv"], flatten=False)


def random_blocks(*, seed: int = 1) -> nn.Module:
    generator = random.Random(seed)
    names = generator.choices(list(BLOCKS), k=generator.randint(2, 5))
    return Net(names, flatten=generator.random() < 0.5)


@pytest.fixture(scope="module", autouse=True)
def _networks_are_known() -> None:
    for build in (one_block, random_blocks):
        models.ARCHITECTURES[build.__name__] = models.Architecture(build, (3, SIZE, SIZE))


def drawn(arch: str, **args: int) -> Network:
    """Random numbers in every tensor."""
    network = Network.fresh(arch, args, seed=0)
    generator = torch.Generator().manual_seed(0)
    weights = dict(network.weights)
    for name, tensor in weights.items():
        if "running_var" in name:
            weights[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif tensor.is_floating_point() and (tensor.ndim == 1 or "sc" in name or "shift" in name):
            weights[name] = torch.randn(tensor.shape, generator=generator)
    return replace(network, weights=weights)


def kept_of(channels: Channels, ratio: float, seed: int, round_to: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for group in channels.groups:
        count = max(1, round(ratio * group.width))
        count = min(group.width, -(-count // round_to) * round_to)
        stays = torch.zeros(group.width, dtype=torch.bool)
        stays[torch.randperm(group.width, generator=generator)[:count]] = True
        kept.append(stays)
    return kept


def assert_same_function(network: Network, kept: list[Tensor]) -> Network:
    module = network.module()
    channels = follow_channels(module, network.input_shape)
    mask = channel_mask(module, channels.groups, kept)
    narrow = shrink(network, mask)
    x = torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, result = mask.apply(network).module()(x), narrow.module()(x)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(result / scale, expected / scale, atol=1e-5, rtol=0)
    for group, stays in zip(channels.groups, kept, strict=True):
        for cut in group.cuts:
            gone = len(cut.span.indices_of(set((~stays).nonzero().flatten().tolist())))
            assert len(narrow.removed.get(cut.tensor, {}).get(cut.axis, ())) >= gone
    return narrow


def free_layers(channels: Channels) -> set[str]:
    return {layer for group in channels.groups for layer in group.producers}


# What is in the middle of each network and cannot go: channels of the stem, for one, where they
# meet what mixes them.
STAYING = {"sigmoid": "does not become 0", "layer norm": "is combined with others"}


@pytest.mark.parametrize("block", list(BLOCKS))
def test_channels_pass_through_a_block(block: str) -> None:
    network = drawn("one_block", block=list(BLOCKS).index(block) + 1)
    channels = follow_channels(network.module(), network.input_shape)
    is_free = "stem.0" in free_layers(channels)
    assert is_free is (block not in STAYING)
    if not is_free:
        reasons = [o.reason for o in channels.obstacles if "stem.0" in o.layers]
        assert len(reasons) == 1
        assert STAYING[block] in reasons[0]
    assert {"blocks.1.0", "head.0"} <= free_layers(channels)
    assert [o.layers for o in channels.obstacles if "output" in o.reason] == [("classes",)]
    for ratio, round_to in ((0.5, 1), (0.2, 8), (0.8, 1)):
        assert_same_function(network, kept_of(channels, ratio, 3, round_to))


@pytest.mark.parametrize("block", ["depthwise multiplier", "transposed", "group norm", "scaled"])
def test_costs_follow_what_is_removed(block: str) -> None:
    network = drawn("one_block", block=list(BLOCKS).index(block) + 1)
    module = network.module()
    channels = follow_channels(module, network.input_shape)
    kept = kept_of(channels, 0.5, 0)
    narrow = assert_same_function(network, kept)
    parameters, macs = count(narrow.module(), narrow.input_shape)
    for kind, value in (("parameters", parameters), ("macs", macs)):
        cost = EXPECTED[kind](module, channels.groups, network.input_shape)
        assert float(cost(torch.cat(kept).double())) == pytest.approx(value, rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(1, 2**31), ratio=st.floats(0, 1))
def test_random_networks_keep_their_function(seed: int, ratio: float) -> None:
    network = drawn("random_blocks", seed=seed)
    channels = follow_channels(network.module(), network.input_shape)
    narrow = assert_same_function(network, kept_of(channels, ratio, seed))
    again = follow_channels(narrow.module(), narrow.input_shape)
    assert_same_function(narrow, kept_of(again, 0.5, seed))


def test_narrow_groups_come_back_from_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for block in ("many groups", "few groups", "group norm", "transposed groups"):
        network = drawn("one_block", block=list(BLOCKS).index(block) + 1)
        channels = follow_channels(network.module(), network.input_shape)
        narrow = assert_same_function(network, kept_of(channels, 0.5, 0))
        save_network(narrow, tmp_path / block)
        loaded = load_network(tmp_path / block)
        x = torch.randn(2, *network.input_shape)
        assert torch.equal(loaded.module()(x), narrow.module()(x))


class Numbers(nn.Module):
    """A forward with a width as a number in it, and one block that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.free = conv(3, 16), conv(16, 16)
        self.part = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, rest = torch.split(self.stem(x), [4, 12], 1)
        return self.head(self.free(torch.cat([self.part(first), rest], 1)))  # type: ignore[no-any-return]


class Viewed(nn.Module):
    """A view with a number of channels in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.free, self.head = conv(3, 16), conv(16, 16), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).reshape(-1, 16, SIZE * SIZE).flip(2).reshape(-1, 16, SIZE, SIZE)
        return self.head(self.free(x))  # type: ignore[no-any-return]


class Unknown(nn.Module):
    """An operator that no table has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.free, self.head = conv(3, 16), conv(16, 16), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.zeros(len(x), SIZE, SIZE, 2)
        x = F.grid_sample(self.stem(x), grid, align_corners=False)
        return self.head(self.free(x))  # type: ignore[no-any-return]


class Indexed(nn.Module):
    """Stored indices name channels by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.free, self.head = conv(3, 16), conv(16, 16), nn.Conv2d(16, 5, 1)
        self.register_buffer("order", torch.tensor([*range(8, 16), 3, 1, 2, 0, 7, 6, 5, 4]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.free(self.stem(x)[:, self.order]))  # type: ignore[no-any-return]


class ByMeans(nn.Module):
    """The mean over channels depends on how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.free, self.head = conv(3, 16), conv(1, 16), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.free(self.stem(x).mean(1, keepdim=True)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Numbers, "is taken by its number"),
        (Viewed, "has its size as a number in the forward of Viewed"),
        (Unknown, "channels are not followed"),
        (Indexed, "is combined with others"),
        (ByMeans, "is combined with others"),
    ],
)
def test_what_cannot_go_stays_with_its_reason(network: type[nn.Module], reason: str) -> None:
    channels = follow_channels(network().eval(), (3, SIZE, SIZE))
    assert free_layers(channels) - {"part"} == {"free.0"}
    reasons = [o.reason for o in channels.obstacles if "stem.0" in o.layers]
    assert len(reasons) == 1
    assert reason in reasons[0]


class Recurrent(nn.Module):
    """A recurrent layer between convolutions over time."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 8, 3, padding=1)
        self.rnn = kind(8, 6, batch_first=True, bidirectional=True)
        self.mlp, self.head = nn.Linear(12, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.rnn(torch.relu(self.stem(x)).transpose(1, 2))[0]
        return self.head(torch.relu(self.mlp(hidden)))  # type: ignore[no-any-return]


def recurrent(*, kind: int = 1) -> nn.Module:
    return Recurrent((nn.LSTM, nn.GRU)[kind - 1])


@pytest.mark.parametrize("kind", [1, 2])
def test_what_recurrent_layers_read_can_go(kind: int) -> None:
    models.ARCHITECTURES["recurrent"] = models.Architecture(recurrent, (4, 5))
    network = drawn("recurrent", kind=kind)
    channels = follow_channels(network.module(), network.input_shape)
    assert free_layers(channels) == {"stem", "mlp"}
    assert any("hidden unit of rnn" in o.reason for o in channels.obstacles)
    assert_same_function(network, kept_of(channels, 0.5, 0))


def test_tied_layers_lose_the_same() -> None:
    class Shared(nn.Module):
        """One convolution is called at two places."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.both = conv(3, 8), conv(3, 8), nn.Conv2d(8, 6, 1)
            self.head = nn.Conv2d(12, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            parts = [self.both(self.a(x)), self.both(self.b(x))]
            return self.head(torch.cat(parts, 1))  # type: ignore[no-any-return]

    channels = follow_channels(Shared().eval(), (3, SIZE, SIZE))
    assert [(set(g.producers), g.width) for g in channels.groups] == [
        ({"a.0", "b.0"}, 8),
        ({"both"}, 6),
    ]
    assert channels.groups[1].consumers["head"].indices == tuple(range(12))


def test_a_network_that_cannot_be_traced_says_so() -> None:
    class Deciding(nn.Module):
        """Control flow that depends on numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y if float(y.sum()) > 0 else -y

    channels = follow_channels(Deciding().eval(), (3, SIZE, SIZE))
    assert not channels.groups
    assert "cannot be traced" in channels.why


def test_masks_may_leave_out_a_writer() -> None:
    network = drawn("one_block", block=list(BLOCKS).index("scaled") + 1)
    module = network.module()
    channels = follow_channels(module, network.input_shape)
    mask = channel_mask(module, channels.groups, kept_of(channels, 0.5, 0))
    assert "blocks.0.shift" in mask.tensors
    without = Mask({n: t for n, t in mask.tensors.items() if n != "blocks.0.shift"})
    assert "stem.0.weight" not in shrink(network, without).removed


class BothSides(nn.Module):
    """Two inputs whose channels meet."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.numbers = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 8)
        self.after, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.relu(self.maps(x) + self.numbers(y)[:, :, None, None])
        told: Tensor = self.head(torch.relu(self.after(both)).mean((2, 3)))
        return told


def test_channels_of_several_inputs_meet() -> None:
    channels = follow_channels(BothSides().eval(), ((3, SIZE, SIZE), (5,)))
    assert [set(group.producers) for group in channels.groups] == [{"maps", "numbers"}, {"after"}]
    assert [obstacle.layers for obstacle in channels.obstacles] == [("head",)]
