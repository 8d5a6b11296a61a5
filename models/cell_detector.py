"""An anchor-free detector of one level: each cell of a coarse map says what lies around it.

Boxes are distances to their four sides, as in Tian et al., "FCOS: Fully convolutional one-stage
object detection" (2019), without its centre-ness and its pyramid: things here have one size.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

# Where training starts: one cell in 50 holds a thing (Lin et al. 2017), with sides 1.5 cells away.
_SCORE, _SIDES = math.log(0.02 / 0.98), 1.5


class CellDetector(nn.Module):
    """[N, in_channels, side, side] -> logits [N, num_classes, cells, cells] and distances [N, 4,
    cells, cells] from a cell's middle to the left, top, right and lower side, in cells.

    Three times a convolution that halves the picture and one that does not, of width, 2 · width
    and 4 · width channels, then ``depth`` more, until a cell has seen about 60 pixels.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        side: int = 96,
        width: int = 12,
        depth: int = 2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(3):
            wide = width * 2**stage
            layers += _convolution(channels, wide, stride=2)
            layers += _convolution(wide, wide)
            channels = wide
        for _ in range(depth):
            layers += _convolution(channels, channels)
        self.features = nn.Sequential(*layers)
        self.scores = nn.Conv2d(channels, num_classes, 1)
        self.sides = nn.Conv2d(channels, 4, 1)
        for head, start in ((self.scores, _SCORE), (self.sides, _SIDES)):
            nn.init.normal_(head.weight, std=0.01)
            assert head.bias is not None
            nn.init.constant_(head.bias, start)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.scores(features), self.sides(features)


def _convolution(channels: int, wide: int, *, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, wide, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(wide), nn.ReLU()]
