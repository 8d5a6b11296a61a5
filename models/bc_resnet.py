"""BC-ResNet-1 for keywords, after Kim et al., "Broadcasted Residual Learning for Efficient Keyword
Spotting" (2021).

Two things are other than in the paper, for the sake of integer kernels. Batch norm stands where it
has sub-spectral normalisation, whose factors differ from mel to mel and so fold into no
convolution; and ReLU where it has swish.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
            for i in range(repeats):
                step, transition = (stride, True) if i == 0 else (1, False)
                blocks.append(
                    Block(
                        channels, wide, left, stride=step, dilation=dilation, transition=transition
                    )
                )
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(
            # All frames, but only where the filter lies whole over the mels.
            _each_channel(channels, (5, 5), padding=(2, 0)),
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


class Block(nn.Module):
    """relu(x + f2(x) + f1(f2(x))), without x in a ``transition`` to other channels or mels.

    As the paper has it, f2 convolves over mels; f1 takes their mean and convolves that over time,
    and every mel gets the same of it.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        mels: int,
        *,
        stride: int,
        dilation: int,
        transition: bool,
    ) -> None:
        super().__init__()
        self.mels, self.transition = mels, transition
        widen: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        self.f2 = nn.Sequential(
            *(widen if transition else []),
            _each_channel(channels, (1, 3), stride=(1, stride), padding=(0, 1)),
            nn.BatchNorm2d(channels),
        )
        self.f1 = nn.Sequential(
            nn.AvgPool2d((1, mels)),
            _each_channel(channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.f2(x)
        # Joined with itself instead of repeated: int8 files then only copy codes.
        z = y + torch.cat([self.f1(y)] * self.mels, 3)
        return F.relu(z if self.transition else x + z)


def _each_channel(
    channels: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> nn.Conv2d:
    """One filter for each channel, over frames and mels."""
    return nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
    )
