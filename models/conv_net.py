"""Conv-2, Conv-4 and Conv-6: the convolutional networks of the lottery-ticket papers.

Frankle and Carbin, "The Lottery Ticket Hypothesis" (2019), figure 2; Zhou et al.,
"Deconstructing Lottery Tickets" (2019). VGG-like, without batch norm, and most of their weights
are in the first linear layer.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn


class ConvNet(nn.Module):
    """[N, in_channels, 32, 32] -> logits [N, num_classes].

    ``stages`` times two 3×3 convolutions and a max-pool, of width, 2 · width, 4 · width channels;
    then linear layers of ``hidden``, ``hidden`` and ``num_classes`` outputs. Weights start normal
    with Glorot's variance and biases at zero, as in the papers.
    """

    def __init__(
        self,
        stages: int,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 64,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(stages):
            wide = width * 2**stage
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = wide
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * (32 // 2**stages) ** 2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


conv2 = functools.partial(ConvNet, 1)  # 4.3 million weights
conv4 = functools.partial(ConvNet, 2)  # 2.4 million weights
conv6 = functools.partial(ConvNet, 3)  # 2.3 million weights; figure 2 of the paper gives 1.7
