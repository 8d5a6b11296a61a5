"""Speech to letters with separable 1-D convolutions, after Kriman et al., "QuartzNet: Deep
Automatic Speech Recognition with 1D Time-Channel Separable Convolutions" (2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SeparableCtc(nn.Module):
    """Log-mel energies [N, mels, frames] -> logits [N, symbols, (frames + 1) // 2], for a CTC loss.

    A convolution of ``kernel`` frames halves the rate; then come ``blocks`` residual blocks of
    ``repeats`` separable convolutions each, whose kernels grow by ``kernel_growth`` from block to
    block; a wide dilated one and two 1×1 convolutions end it. Kernels must be odd.

    ``frames`` is the length that exported files take; in training it may be any.
    """

    def __init__(
        self,
        *,
        mels: int = 64,
        symbols: int = 29,
        frames: int = 256,
        width: int = 128,
        blocks: int = 5,
        repeats: int = 2,
        kernel: int = 11,
        kernel_growth: int = 2,
    ) -> None:
        super().__init__()
        kernels = [kernel + kernel_growth * i for i in range(blocks + 1)]
        if not all(k % 2 for k in kernels):
            raise ValueError(f"kernels must be odd to keep the length, not {kernels}")
        self.frames = frames
        self.stem = nn.Sequential(*_separable(mels, width, kernel, stride=2), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(width, k, repeats) for k in kernels[:-1]))
        self.tail = nn.Sequential(
            *_separable(width, width, kernels[-1], dilation=2),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 1, bias=False),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.Conv1d(2 * width, symbols, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.tail(self.blocks(self.stem(x)))
        return logits


class Block(nn.Module):
    """relu(separable convolutions(x) + 1×1 convolution(x)), all with batch norm."""

    def __init__(self, width: int, kernel: int, repeats: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(repeats):
            layers += [*_separable(width, width, kernel), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential(nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _separable(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """One filter for each channel over time, then a 1×1 convolution over channels."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.Conv1d(
            in_channels,
            in_channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        ),
        nn.Conv1d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm1d(out_channels),
    ]
