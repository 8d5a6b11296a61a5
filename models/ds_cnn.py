"""DS-CNN for keywords, after Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers"
(2017): a convolution, separable convolutions, and a mean over time and frequency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DsCnn(nn.Module):
    """Features [N, in_channels, frames, mels] -> logits [N, num_classes].

    The first convolution spans 9 frames and 9 mels and keeps every second frame and every fourth
    mel; ``blocks`` separable 3×3 convolutions follow. Width 64 and 4 blocks are the paper's small
    network, which sees 10 cepstral coefficients and spans 10 frames of 4 of them.

    ``frames`` and ``mels`` are what exported files take; in training they may be any.
    """

    def __init__(
        self,
        *,
        num_classes: int = 12,
        in_channels: int = 1,
        frames: int = 51,
        mels: int = 40,
        width: int = 64,
        blocks: int = 4,
    ) -> None:
        super().__init__()
        self.frames, self.mels = frames, mels
        stem = nn.Conv2d(in_channels, width, 9, stride=(2, 4), padding=4, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(_separable(width) for _ in range(blocks)))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1), 1)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


def _separable(width: int) -> nn.Sequential:
    """One 3×3 filter for each channel, then a 1×1 convolution over channels."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
