"""A small U-Net: Ronneberger et al., "U-Net: Convolutional networks for biomedical image
segmentation" (2015), with batch norm and padding, so that the output is as large as the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """[N, in_channels, side, side] -> logits [N, num_classes, side, side].

    The picture is halved ``depth`` times, each time with twice as many channels; on the way up a
    transposed convolution doubles it, and what had its size on the way down is put beside it.
    """

    def __init__(
        self,
        *,
        num_classes: int = 11,
        in_channels: int = 1,
        side: int = 48,
        width: int = 8,
        depth: int = 3,
    ) -> None:
        super().__init__()
        if side % 2**depth:
            raise ValueError(f"unet: side {side} cannot be halved {depth} times")
        widths = [width * 2**stage for stage in range(depth + 1)]
        self.down = nn.ModuleList()
        channels = in_channels
        for wide in widths:
            self.down.append(_two_convolutions(channels, wide))
            channels = wide
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.ModuleList()
        self.up = nn.ModuleList()
        for wide in reversed(widths[:-1]):
            self.enlarge.append(nn.ConvTranspose2d(channels, wide, 2, stride=2))
            self.up.append(_two_convolutions(2 * wide, wide))
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


def _two_convolutions(channels: int, wide: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for taken in (channels, wide):
        convolution = nn.Conv2d(taken, wide, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers)
