"""Networks that are one chain of 3×3 convolutions with batch norm and a linear classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DigitsCnn(nn.Module):
    """[N, in_channels, 28, 28] -> logits [N, num_classes].

    Strided convolutions instead of pooling, and a global average at the end, so that nearly all
    the time goes into convolutions of many channels: the layers that int8 and channel removal
    make faster. Widths are ``width`` and 2 · width at 14×14 pixels, and 4 · width at 7×7.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv_bn_relu(in_channels, width, stride=2),
            *_conv_bn_relu(width, 2 * width),
            *_conv_bn_relu(2 * width, 4 * width, stride=2),
            *_conv_bn_relu(4 * width, 4 * width),
            *_conv_bn_relu(4 * width, 4 * width),
        )
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1)
        logits: Tensor = self.classifier(x)
        return logits


class VggSmall(nn.Module):
    """VGG-Small of the binary-network literature (Cai et al. 2017), with batch norm.

    [N, in_channels, 32, 32] -> logits [N, num_classes]; convolutions of width, width, max-pool,
    2 · width, 2 · width, max-pool, 4 · width, 4 · width, max-pool, and one linear layer.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3, width: int = 128) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv_bn_relu(in_channels, width),
            *_conv_bn_relu(width, width),
            nn.MaxPool2d(2),
            *_conv_bn_relu(width, 2 * width),
            *_conv_bn_relu(2 * width, 2 * width),
            nn.MaxPool2d(2),
            *_conv_bn_relu(2 * width, 4 * width),
            *_conv_bn_relu(4 * width, 4 * width),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(4 * width * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


def _conv_bn_relu(in_channels: int, out_channels: int, *, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]
