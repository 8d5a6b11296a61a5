"""Super-resolution for int8: a few convolutions at the small size, then their channels become
pixels (Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network", 2016).

What they give is added to the picture itself, each pixel repeated: so rounding touches only what is
new (Du et al., "Anchor-based plain net for mobile image super-resolution", 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AnchoredUpscaler(nn.Module):
    """Grey pictures [N, 1, side, side] -> [N, 1, factor · side, factor · side]."""

    def __init__(self, *, side: int = 32, factor: int = 2, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.side, self.factor = side, factor
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.details = nn.Conv2d(width, factor**2, 3, padding=1)
        self.enlarge = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        repeated = torch.cat([x] * self.factor**2, dim=1)
        enlarged: Tensor = self.enlarge(repeated + self.details(self.features(x)))
        return enlarged
