"""Small networks of the kinds that run on edge devices, by task, with random weights.

They are here to be converted, not trained: `benchmarks/coverage.py` runs them through every file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]
NETWORKS: dict[str, tuple[str, Shape, Callable[[], nn.Module]]] = {}
PICTURE = (3, 64, 64)


def network(task: str, takes: Shape) -> Callable[[Any], Any]:
    """Register a function that builds a network."""

    def add(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        NETWORKS[build.__name__] = task, takes, build
        return build

    return add


def make(name: str) -> nn.Module:
    """The network with seeded weights, and norms that have seen something."""
    torch.manual_seed(0)
    module = NETWORKS[name][2]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


def conv(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, *, group: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    """Convolution, norm and activation."""
    layers = [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=group, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


def conv1d(inputs: int, outputs: int, size: int = 3, *, gap: int = 1) -> nn.Sequential:
    """The same over one axis."""
    pad = gap * (size // 2)
    layer = nn.Conv1d(inputs, outputs, size, padding=pad, dilation=gap, bias=False)
    return nn.Sequential(layer, nn.BatchNorm1d(outputs), nn.ReLU())


def classifier(features: nn.Module, channels: int, labels: int = 10) -> nn.Sequential:
    """Features, their means, a linear layer."""
    return nn.Sequential(
        features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, labels)
    )


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Gate(nn.Module):
    """x · g(mean of x), squeeze and excitation."""

    def __init__(self, channels: int, act: Any = nn.Sigmoid) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return x * self.act(gate)


def inverted(channels: int, act: Any = nn.ReLU6, gate: Any = None) -> nn.Module:
    """Wide, by channel, narrow again."""
    wide = channels * 3
    middle = [conv(channels, wide, 1, act=act), conv(wide, wide, group=wide, act=act)]
    gates = [Gate(wide, gate)] if gate else []
    return Residual(nn.Sequential(*middle, *gates, conv(wide, channels, 1, act=None)))


@network("classification", PICTURE)
def plain_residual() -> nn.Module:
    blocks = [conv(3, 16, 3, 2), *(Residual(conv(16, 16)) for _ in range(3))]
    return classifier(nn.Sequential(*blocks, nn.MaxPool2d(2), conv(16, 32)), 32)


@network("classification", PICTURE)
def inverted_relu6() -> nn.Module:
    return classifier(
        nn.Sequential(conv(3, 16, 3, 2, act=nn.ReLU6), inverted(16), inverted(16)), 16
    )


@network("classification", PICTURE)
def inverted_hardswish_gated() -> nn.Module:
    blocks = [inverted(16, nn.Hardswish, nn.Hardsigmoid) for _ in range(2)]
    return classifier(nn.Sequential(conv(3, 16, 3, 2, act=nn.Hardswish), *blocks), 16)


@network("classification", PICTURE)
def inverted_silu_gated() -> nn.Module:
    blocks = [inverted(16, nn.SiLU, nn.Sigmoid) for _ in range(2)]
    return classifier(nn.Sequential(conv(3, 16, 3, 2, act=nn.SiLU), *blocks), 16)


class Shuffled(nn.Module):
    """Half of the channels are convolved, then both halves are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.inner = nn.Sequential(conv(half, half, 1), conv(half, half, group=half))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([left, self.inner(right)], 1), 2)


@network("classification", PICTURE)
def shuffled() -> nn.Module:
    return classifier(nn.Sequential(conv(3, 16, 3, 2), Shuffled(16), Shuffled(16)), 16)


class Dense(nn.Module):
    """The output is joined to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inner(F.relu(self.norm(x)))], 1)


@network("classification", PICTURE)
def dense() -> nn.Module:
    return classifier(nn.Sequential(conv(3, 16, 3, 2), Dense(16, 8), Dense(24, 8)), 32)


class LayerScaled(nn.Module):
    """A large depthwise kernel, a layer norm, a wide layer, a stored scale of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 48), nn.Linear(48, channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.spatial(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


@network("classification", PICTURE)
def layer_scaled() -> nn.Module:
    return classifier(nn.Sequential(conv(3, 16, 4, 4, act=None), LayerScaled(16)), 16)


@network("classification", PICTURE)
def all_linear_mixer() -> nn.Module:
    return _Mixer()


class _Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.tokens, self.channels = nn.Linear(64, 64), nn.Linear(32, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + F.gelu(self.tokens(self.norms[0](x).transpose(1, 2))).transpose(1, 2)
        x = x + F.gelu(self.channels(self.norms[1](x)))
        return self.head(x.mean(1))


class Transformer(nn.Module):
    """Patches, a class token, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.places = nn.Parameter(torch.randn(1, 17, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.layers(x)[:, 0])


@network("classification", PICTURE)
def transformer() -> nn.Module:
    return Transformer()


class Pyramid(nn.Module):
    """Two scales that are merged, and a head on each."""

    def __init__(self, act: Any, *, decoded: bool) -> None:
        super().__init__()
        self.low = nn.Sequential(conv(3, 16, 3, 2, act=act), conv(16, 32, 3, 2, act=act))
        self.high = conv(32, 64, 3, 2, act=act)
        self.lateral = conv(96, 32, 1, act=act)
        self.heads = nn.ModuleList([nn.Conv2d(32, 9, 1), nn.Conv2d(64, 9, 1)])
        self.decoded = decoded

    def forward(self, x: Tensor) -> Any:
        low = self.low(x)
        high = self.high(low)
        up = F.interpolate(high, scale_factor=2.0, mode="nearest")
        maps = [self.lateral(torch.cat([low, up], 1)), high]
        found = [head(m) for head, m in zip(self.heads, maps, strict=True)]
        if not self.decoded:
            return {"low": found[0], "high": found[1]}
        flat = torch.cat([m.flatten(2) for m in found], 2)
        boxes, scores = flat.split([4, 5], 1)
        return torch.cat([boxes.sigmoid() * 64, scores.sigmoid()], 1)


@network("detection", PICTURE)
def pyramid_raw_heads() -> nn.Module:
    return Pyramid(nn.ReLU, decoded=False)


@network("detection", PICTURE)
def pyramid_decoded() -> nn.Module:
    return Pyramid(nn.SiLU, decoded=True)


class Centres(nn.Module):
    """A heat map with its peaks, as max pooling finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32))
        self.heat, self.size = nn.Conv2d(32, 3, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        heat = self.heat(x).sigmoid()
        peaks = (F.max_pool2d(heat, 3, 1, 1) == heat).float()
        return heat * peaks, self.size(x)


@network("detection", PICTURE)
def centres() -> nn.Module:
    return Centres()


class Encoded(nn.Module):
    """An encoder, a decoder, and what is handed across."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 32, 3, 2)
        transposed = nn.ConvTranspose2d(32, 16, 2, 2)
        resized = nn.Sequential(nn.Upsample(scale_factor=2, mode=up), conv(32, 16))
        self.up: nn.Module = transposed if up == "transposed" else resized
        self.head = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.head(torch.cat([a, self.up(self.b(a))], 1))


@network("segmentation", PICTURE)
def encoded_transposed() -> nn.Module:
    return Encoded("transposed")


@network("segmentation", PICTURE)
def encoded_bilinear() -> nn.Module:
    return Encoded("bilinear")


class Spread(nn.Module):
    """Dilated branches and the mean of the map, resized to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv(3, 16, 3, 4)
        self.branches = nn.ModuleList(
            nn.Conv2d(16, 8, 3, padding=gap, dilation=gap) for gap in (1, 2, 4)
        )
        self.mean, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        parts = [F.relu(branch(y)) for branch in self.branches]
        mean = F.relu(self.mean(F.adaptive_avg_pool2d(y, 1))).expand(-1, -1, *y.shape[2:])
        y = self.head(torch.cat([*parts, mean], 1))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)


@network("segmentation", PICTURE)
def spread() -> nn.Module:
    return Spread()


@network("super resolution", (1, 24, 24))
def pixels_shuffled() -> nn.Module:
    body = [nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*body, nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3))


class Restored(nn.Module):
    """What is to be added to the picture."""

    def __init__(self) -> None:
        super().__init__()
        slopes = [nn.PReLU(16), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(16 if i else 3, 16, 3, padding=1), slopes[i])
                for i in (0, 1)
            ),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x + 0.1 * self.body(x), -3, 3)


@network("restoration", (3, 32, 32))
def restored() -> nn.Module:
    return Restored()


@network("keywords", (1, 40, 50))
def keywords_separable() -> nn.Module:
    blocks = [nn.Sequential(conv(16, 16, group=16), conv(16, 16, 1)) for _ in range(2)]
    return classifier(nn.Sequential(conv(1, 16, 5, 2), *blocks), 16, 12)


@network("keywords", (40, 64))
def keywords_one_axis() -> nn.Module:
    layers = [conv1d(40, 24, 9), *(Residual(conv1d(24, 24, 9)) for _ in range(2))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 12))


@network("time series", (6, 128))
def dilated_one_axis() -> nn.Module:
    layers = [conv1d(6, 16), *(Residual(conv1d(16, 16, gap=2**i)) for i in range(4))]
    return nn.Sequential(*layers, nn.Conv1d(16, 3, 1))


@network("anomalies", (64,))
def bottleneck_of_rows() -> nn.Module:
    sizes, layers = [64, 32, 8, 32, 64], []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b), nn.ReLU()] if i < 3 else [])]
    return nn.Sequential(*layers)


class Recoded(nn.Module):
    """A picture through a narrow code, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(3, 16, 3, 2), conv(16, 8, 3, 2))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.up(self.down(x)))


@network("anomalies", (3, 32, 32))
def recoded() -> nn.Module:
    return Recoded()


class Embedded(nn.Module):
    """A vector of length 1 for faces and speakers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), nn.PReLU(16), conv(16, 32, 3, 2))
        self.row = nn.Conv2d(32, 32, 16, groups=32)
        self.head = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.row(self.body(x)).flatten(1)), dim=1)


@network("recognition", PICTURE)
def embedded() -> nn.Module:
    return Embedded()


@network("poses", PICTURE)
def poses() -> nn.Module:
    body = nn.Sequential(conv(3, 16, 3, 2), inverted(16), conv(16, 32))
    return nn.Sequential(body, nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 5, 1))


@network("depth", PICTURE)
def depth() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2, act=nn.ELU),
        nn.ReflectionPad2d(1),
        nn.Conv2d(16, 16, 3),
        nn.ELU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(16, 1, 3, padding=1),
        nn.Softplus(),
    )


@network("policies", (12,))
def policy() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)
    )


class Normalised(nn.Module):
    """Preprocessing inside the network, and instance and group norms."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1))
        self.a, self.b = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)])
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.get_buffer("mean")
        x = (x - mean) / 0.25
        x = F.relu(self.norms[0](self.a(x)))
        x = F.relu(self.norms[1](self.b(x)))
        return self.head(x.mean((2, 3))).softmax(1)


@network("classification", PICTURE)
def normalised() -> nn.Module:
    return Normalised()


@network("classification", PICTURE)
def unlike_windows() -> nn.Module:
    """Seven means of four places each way, as VGG has for small pictures."""
    layers = [conv(3, 16, 3, 4), nn.MaxPool2d(4), nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))


class LinearAttention(nn.Module):
    """relu(q) · (relu(k)ᵀ · v), divided by what the weights come to."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.join = nn.Conv2d(16, 48, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.parts(x).flatten(2).chunk(3, 1)
        q, k, v = F.relu(q), F.relu(k), F.pad(v, (0, 0, 0, 1), value=1.0)
        both = (v @ k.transpose(1, 2)) @ q
        shares = both[:, :-1] / (both[:, -1:] + 1e-3)
        return x + self.join(shares.reshape(x.shape))


@network("classification", PICTURE)
def linear_attention() -> nn.Module:
    features = [conv(3, 16, 3, 4, act=nn.Hardswish), LinearAttention(), LinearAttention()]
    return classifier(nn.Sequential(*features, conv(16, 32, 3, 2, act=nn.Hardswish)), 32)


@network("keywords", (40, 64))
def keywords_hard_swish() -> nn.Module:
    layers = [nn.Conv1d(40, 24, 5), nn.Hardswish(), nn.Conv1d(24, 24, 5), nn.Hardswish()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 12))


class Recurrent(nn.Module):
    """The last state of a recurrent layer."""

    def __init__(self, kind: Any, inputs: int, labels: int) -> None:
        super().__init__()
        self.steps = kind(inputs, 16, batch_first=True)
        self.head = nn.Linear(16, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x)[0][:, -1])


@network("forecasts", (24, 6))
def forecast_lstm() -> nn.Module:
    return Recurrent(nn.LSTM, 6, 4)


@network("gestures", (24, 6))
def gestures_gru() -> nn.Module:
    return Recurrent(nn.GRU, 6, 8)


@network("classification", PICTURE)
def turned_down() -> nn.Module:
    """Positions become channels, as small YOLOs begin."""
    return classifier(
        nn.Sequential(nn.PixelUnshuffle(4), conv(48, 16, act=nn.Mish), conv(16, 32, 3, 2)), 32
    )
