"""A small vision transformer: Dosovitskiy et al., "An Image Is Worth 16x16 Words" (2021), with the
changes of Beyer et al., "Better plain ViT baselines for ImageNet-1k" (2022): the mean over all
patches instead of a class token, and no dropout. On few images it learns faster behind a few
convolutions: Xiao et al., "Early Convolutions Help Transformers See Better" (2021)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """[N, in_channels, H, W] -> logits [N, num_classes], for the one ``image_size`` (H, W).

    ``stem`` makes a vector of ``width`` numbers of each square of ``patch`` pixels, to which a
    learned one for its place is added. ``depth`` pre-norm blocks follow, of self-attention with
    ``heads`` heads and of two linear layers with ``expansion`` · width between them.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        stem: Callable[[int, int, int], nn.Module],
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        patch: int = 4,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        if width % heads or any(size % patch for size in image_size):
            raise ValueError(
                f"heads ({heads}) must divide width ({width}), and patch ({patch}) "
                f"the image ({image_size[0]}×{image_size[1]})"
            )
        tokens = (image_size[0] // patch) * (image_size[1] // patch)
        self.patches = stem(in_channels, width, patch)
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, expansion) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        x = self.norm(self.blocks(x))
        logits: Tensor = self.head(x.mean(1))
        return logits


class Block(nn.Module):
    """[N, tokens, width] -> the same: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class Attention(nn.Module):
    """Self-attention of ``heads`` heads: [N, tokens, width] -> the same.

    The size of a head is fixed, their number is not: it follows from the shapes of the layers, so
    that heads can be removed.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.head_size = width // heads

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        # In bfloat16 on a CPU, F.scaled_dot_product_attention makes training take twice as long.
        shares = (query @ key.transpose(-2, -1) * self.head_size**-0.5).softmax(-1)
        mixed: Tensor = self.out((shares @ value).transpose(1, 2).flatten(2))
        return mixed


def one_convolution(in_channels: int, width: int, patch: int) -> nn.Module:
    """The stem of the paper: every square of pixels by itself, linearly."""
    return nn.Conv2d(in_channels, width, patch, stride=patch)


def early_convolutions(in_channels: int, width: int, patch: int) -> nn.Module:
    """3×3 convolutions that halve the sides, ever wider, until ``patch`` pixels are one."""
    halvings = patch.bit_length() - 1
    if patch != 2**halvings:
        raise ValueError(f"patch ({patch}) must be a power of two for a convolutional stem")
    layers: list[nn.Module] = []
    channels = in_channels
    for remaining in reversed(range(halvings)):
        wider = max(1, width >> remaining)
        layers.append(nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False))
        layers += [nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 1))


# 64 patches; cifar_vit has 0.81 million weights
cifar_vit = functools.partial(VisionTransformer, (32, 32), one_convolution)
cifar_conv_vit = functools.partial(VisionTransformer, (32, 32), early_convolutions)
# 49 patches
digits_vit = functools.partial(VisionTransformer, (28, 28), one_convolution, in_channels=1)
