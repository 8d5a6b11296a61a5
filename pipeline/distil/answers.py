"""What a network answers to a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """The outputs for a batch, and what some of the layers gave on the way."""

    outputs: Tensor  # [N, classes]
    layers: Mapping[str, Tensor]  # name -> [N, channels, ...]
