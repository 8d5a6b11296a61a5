"""A small vision transformer: Dosovitskiy et al., "An Image Is Worth 16x16 Words" (2021), with the
changes of Beyer et al., "Better plain ViT baselines for ImageNet-1k" (2022): the mean over all
patches instead of a class token, and no dropout."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VisionTransformer(nn.Module):
    """[N, in_channels, H, W] -> logits [N, num_classes], for the one ``image_size`` (H, W).

    The image is cut into squares of ``patch`` pixels; each becomes a vector of ``width`` numbers
    plus a learned one for its place. ``depth`` pre-norm blocks follow, of self-attention with
    ``heads`` heads and of two linear layers with ``expansion`` · width between them.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
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
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
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
    """Self-attention of ``heads`` heads: [N, tokens, width] -> the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.heads = (heads, width // heads)

    def forward(self, x: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(
            self.query(x).unflatten(-1, self.heads).transpose(1, 2),
            self.key(x).unflatten(-1, self.heads).transpose(1, 2),
            self.value(x).unflatten(-1, self.heads).transpose(1, 2),
        )
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed


cifar_vit = functools.partial(VisionTransformer, (32, 32))  # 0.81 million weights, 64 patches
digits_vit = functools.partial(VisionTransformer, (28, 28), in_channels=1)  # 49 patches
