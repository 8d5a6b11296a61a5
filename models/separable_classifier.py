"""A whole recording to one of several classes with separable 1-D convolutions: the blocks of
`models.separable_ctc` (Kriman et al. 2020), and a mean over time as in Snyder et al., "X-Vectors:
Robust DNN Embeddings for Speaker Recognition" (2018), but without the deviation beside it."""

from __future__ import annotations

from torch import Tensor, nn

from edgeticket.models.separable_ctc import Block


class SeparableClassifier(nn.Module):
    """Log-mel energies [N, mels, frames] -> logits [N, num_classes].

    A convolution of 5 frames halves the rate; then come ``blocks`` residual blocks of two separable
    convolutions of ``kernel`` frames each, which must be odd.

    ``frames`` is the length that exported files take; in training it may be any.
    """

    def __init__(
        self,
        *,
        num_classes: int = 28,
        mels: int = 40,
        frames: int = 151,
        width: int = 128,
        blocks: int = 3,
        kernel: int = 9,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd to keep the length, not {kernel}")
        self.frames = frames
        self.stem = nn.Sequential(*_conv(mels, width, kernel=5, stride=2))
        self.blocks = nn.Sequential(*(Block(width, kernel, 2) for _ in range(blocks)))
        self.head = nn.Sequential(*_conv(width, 2 * width))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(x))).mean(2)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


def _conv(
    in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1
) -> list[nn.Module]:
    conv = nn.Conv1d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    return [conv, nn.BatchNorm1d(out_channels), nn.ReLU()]
