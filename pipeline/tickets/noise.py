"""Random numbers for many gates, drawn once an epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SLACK = 1 << 16  # windows to choose from


class NoisePool:
    """Noise for ``size`` gates at each step: a window, at a random place, of a longer row of it.

    Drawing fresh numbers for each gate costs as much as half a training step of a small network.
    In one step all gates' numbers are independent, and one gate sees 65,536 different ones in an
    epoch; what is shared is that other gates saw the same ones in other steps.

    All randomness comes from PyTorch's generator, which the training loop seeds for every epoch,
    so with a new row at the start of each epoch a resumed run sees the same noise.
    """

    def __init__(self, size: int, make: Callable[[Tensor], None]) -> None:
        """``make`` fills a tensor with independent random numbers."""
        self.size = size
        self.make = make
        self.row: Tensor | None = None

    def window(self, like: Tensor, *, renew: bool) -> Tensor:
        """Noise [size], a view, on the device of ``like``; ``renew`` at the start of an epoch."""
        if self.row is None or renew:
            self.row = like.new_empty(self.size + SLACK)
            self.make(self.row)
        start = int(torch.randint(SLACK, ()))
        return self.row[start : start + self.size]
