"""EfficientNet-Lite0: EfficientNet (Tan and Le 2019) without what small devices do badly.

After the "lite" variants of its authors: no squeeze-and-excitation, ReLU6 instead of swish, and
the first and last convolution are not scaled. Tensors are named as in the PyTorch ports of the
published weights, but for the underscores that those put before each name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Repeats, kernel, first stride, expansion, output channels (Tan and Le 2019, table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class EfficientNetLite0(nn.Module):
    """[N, in_channels, 224, 224] -> logits [N, num_classes]; other sizes that 32 divides too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.pad = _padding(3, 2)
        self.conv_stem = _conv(in_channels, STEM, kernel=3, stride=2)
        self.bn0 = _batch_norm(STEM)
        self.relu6 = nn.ReLU6()
        blocks = []
        channels = STEM
        for repeats, kernel, stride, expansion, width in STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(_Block(channels, width, kernel, step, expansion))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _conv(channels, HEAD)
        self.bn1 = _batch_norm(HEAD)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu6(self.bn0(self.conv_stem(self.pad(x))))
        x = self.relu6(self.bn1(self.conv_head(self.blocks(x))))
        logits: Tensor = self.fc(self.dropout(torch.flatten(self.pool(x), 1)))
        return logits


class _Block(nn.Module):
    """Widen, convolve each channel, narrow; with a shortcut where the shape stays."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        wide = in_channels * expansion
        widen: dict[str, nn.Module] = {
            "expand_conv": _conv(in_channels, wide),
            "bn0": _batch_norm(wide),
            "relu0": nn.ReLU6(),
        }
        steps: dict[str, nn.Module] = (widen if expansion > 1 else {}) | {
            "pad": _padding(kernel, stride),
            "depthwise_conv": _conv(wide, wide, kernel=kernel, stride=stride, groups=wide),
            "bn1": _batch_norm(wide),
            "relu1": nn.ReLU6(),
            "project_conv": _conv(wide, out_channels),
            "bn2": _batch_norm(out_channels),
        }
        for name, step in steps.items():
            self.add_module(name, step)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for step in self.children():
            y = step(y)
        return x + y if self.has_shortcut else y


def _conv(
    in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)


def _padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """As TensorFlow's SAME pads even sizes: with a stride of 2, one less in front than behind."""
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.ZeroPad2d((before, after, before, after))


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
