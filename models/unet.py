"""A small U-Net: Ronneberger et al., "U-Net: Convolutional networks for biomedical image
segmentation" (2015), with batch norm and padding, so that the output is as large as the input."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """[N, in_channels, side, side] -> logits [N, num_classes, side, side].

    At full size, where convolutions cost most, one of width / 2 channels only. Then the picture is
    halved ``depth`` times, with width, 2 · width and so on channels; on the way up a transposed
    convolution doubles it, and what had its size on the way down is put beside it.
    """

    def __init__(
        self,
        *,
        num_classes: int = 11,
        in_channels: int = 1,
        side: int = 48,
        width: int = 16,
        depth: int = 3,
    ) -> None:
        super().__init__()
        if side % 2**depth:
            raise ValueError(f"unet: side {side} cannot be halved {depth} times")
        widths = [max(1, width // 2), *(width * 2**stage for stage in range(depth))]
        self.down = nn.ModuleList([_convolution(in_channels, widths[0])])
        for taken, wide in itertools.pairwise(widths):
            self.down.append(nn.Sequential(_convolution(taken, wide), _convolution(wide, wide)))
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.ModuleList()
        self.up = nn.ModuleList()
        channels = widths[-1]
        for beside in reversed(widths[:-1]):
            wide = max(beside, width)
            self.enlarge.append(nn.ConvTranspose2d(channels, wide, 2, stride=2))
            self.up.append(_convolution(wide + beside, wide))
            channels = wide
        self.classes = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for stage, block in enumerate(self.down):
            x = block(x if stage == 0 else self.pool(x))
            seen.append(x)
        seen.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([seen.pop(), enlarge(x)], dim=1))
        logits: Tensor = self.classes(x)
        return logits


def _convolution(channels: int, wide: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, wide, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())
