"""BC-ResNet-1 for keywords, after Kim et al., "Broadcasted Residual Learning for Efficient Keyword
Spotting" (2021).

Two things are other than in the paper, for the sake of integer kernels. Batch norm stands where it
has sub-spectral normalisation, whose factors differ from mel to mel and so fold into no
convolution; and ReLU where it has swish.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Repeats, channels at width 8, stride over mels, dilation over frames (table 1).
STAGES = ((2, 1.0, 1, 1), (2, 1.5, 2, 2), (4, 2.0, 2, 4), (4, 2.5, 1, 8))


class BcResNet(nn.Module):
    """Features [N, in_channels, frames, mels] -> logits [N, num_classes].

    ``mels`` is divided by 8 on the way, so it must be a multiple of that; ``frames`` is what
    exported files take, in training it may be any. Width 8 is the paper's BC-ResNet-1.
    """

    def __init__(
        self,
        *,
        num_classes: int = 12,
        in_channels: int = 1,
        frames: int = 51,
        mels: int = 40,
        width: int = 8,
    ) -> None:
        super().__init__()
        if mels % 8 or mels < 40:
            raise ValueError(f"mels must be a multiple of 8, from 40 up, not {mels}")
        self.frames, self.mels = frames, mels
        stem = nn.Conv2d(in_channels, 2 * width, 5, stride=(1, 2), padding=2, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(2 * width), nn.ReLU())
        channels, left = 2 * width, mels // 2
        blocks: list[nn.Module] = []
        for repeats, share, stride, dilation in STAGES:
            wide = int(share * width)
            left //= stride
            blocks.append(_Transition(channels, wide, left, stride=stride, dilation=dilation))
            blocks += [_Normal(wide, left, dilation=dilation) for _ in range(repeats - 1)]
            channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(
            # All frames, but only where the filter lies whole over the mels.
            nn.Conv2d(channels, channels, 5, padding=(2, 0), groups=channels, bias=False),
            nn.Conv2d(channels, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.tail(self.blocks(self.stem(x)))
        return logits


class _OverTime(nn.Module):
    """[N, C, frames, mels] -> mean over mels, convolved over frames, the same for every mel."""

    def __init__(self, channels: int, mels: int, *, dilation: int) -> None:
        super().__init__()
        self.mels = mels
        self.mean = nn.AvgPool2d((1, mels))
        self.convolve = nn.Sequential(
            nn.Conv2d(
                channels,
                channels,
                (3, 1),
                padding=(dilation, 0),
                dilation=(dilation, 1),
                groups=channels,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolve(self.mean(x))
        # Joined with itself: int8 files then only copy codes.
        return torch.cat([y] * self.mels, 3)


class _Normal(nn.Module):
    """relu(x + f(x) + g(f(x))): f convolves over mels, g over time."""

    def __init__(self, channels: int, mels: int, *, dilation: int) -> None:
        super().__init__()
        self.over_mels = _over_mels(channels)
        self.over_time = _OverTime(channels, mels, dilation=dilation)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_mels(x)
        summed: Tensor = self.relu(x + y + self.over_time(y))
        return summed


class _Transition(nn.Module):
    """relu(f(x) + g(f(x))), where f also changes the number of channels and of mels."""

    def __init__(
        self, in_channels: int, channels: int, mels: int, *, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.widen = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.over_mels = _over_mels(channels, stride=stride)
        self.over_time = _OverTime(channels, mels, dilation=dilation)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_mels(self.widen(x))
        summed: Tensor = self.relu(y + self.over_time(y))
        return summed


def _over_mels(channels: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(
        channels, channels, (1, 3), stride=(1, stride), padding=(0, 1), groups=channels, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(channels))
