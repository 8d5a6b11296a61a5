"""ResNets for CIFAR-10: He et al., "Deep Residual Learning for Image Recognition" (2016), 4.2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CifarResNet(nn.Module):
    """[N, in_channels, 32, 32] -> logits [N, num_classes]; 6 · blocks + 2 layers.

    Three stages of ``blocks`` residual blocks with width, 2 · width and 4 · width channels; the
    second and third halve the image.
    """

    def __init__(self, *, blocks: int, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.linear = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        logits: Tensor = self.linear(x)
        return logits


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        same = stride == 1 and in_planes == planes
        self.removable = same  # inputs are never negative, so relu(x + 0) is x
        self.shortcut = nn.Identity() if same else option_a_shortcut(in_planes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


def option_a_shortcut(in_planes: int, planes: int, stride: int) -> nn.Conv2d:
    """He et al.'s parameter-free shortcut (A): every ``stride``-th pixel, zero channels around.

    It is written as a 1×1 convolution with identity rows and zero rows, the same function to the
    last bit, because slices and pads are neither prunable nor free on the runtimes. The weight
    does not require a gradient: it is part of the architecture.
    """
    conv = nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False)
    first = (planes - in_planes) // 2
    weight = torch.zeros_like(conv.weight)
    weight[first : first + in_planes, :, 0, 0] = torch.eye(in_planes, device=weight.device)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    return conv


def _stage(in_planes: int, planes: int, blocks: int, *, stride: int) -> nn.Sequential:
    rest = (BasicBlock(planes, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(in_planes, planes, stride), *rest)


def resnet20(*, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> CifarResNet:
    """ResNet-20: 0.27 M parameters, 41 M multiply-accumulates."""
    return CifarResNet(blocks=3, width=width, num_classes=num_classes, in_channels=in_channels)


def resnet56(*, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> CifarResNet:
    """ResNet-56: 0.86 M parameters, 126 M multiply-accumulates."""
    return CifarResNet(blocks=9, width=width, num_classes=num_classes, in_channels=in_channels)
