"""A convolutional autoencoder: what it cannot rebuild is unlike what it was trained with."""

from __future__ import annotations

from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Grey pictures [N, 1, 28, 28] -> the same, rebuilt from ``code`` numbers, in 0..1."""

    def __init__(self, *, width: int = 16, code: int = 8) -> None:
        super().__init__()
        wide = 2 * width
        self.encoder = nn.Sequential(
            *_layer(nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)),
            *_layer(nn.Conv2d(width, wide, 3, stride=2, padding=1, bias=False)),
            nn.Conv2d(wide, code, 7),
        )
        self.decoder = nn.Sequential(
            *_layer(nn.ConvTranspose2d(code, wide, 7, bias=False)),
            *_layer(nn.ConvTranspose2d(wide, width, 2, stride=2, bias=False)),
            *_layer(nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)),
            nn.Conv2d(width, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return rebuilt


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]
