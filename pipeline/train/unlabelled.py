"""Examples without targets: there is nothing to learn, and nothing to be right about.

See `pipeline.train.task`; what rounding costs is told by fidelity (`decibels`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.recipe import TrainConfig

NO_TARGETS = InputError(
    "the data have no targets, so that nothing can be trained on them: leave out what trains "
    "(ptq needs none), or give data with labels"
)


def loss(cfg: TrainConfig) -> Callable[[Tensor, Any], Tensor]:
    """There is none.

    Raises:
        InputError: always.
    """
    raise NO_TARGETS


def arrange(order: Tensor, split: Split, batch_size: int) -> Tensor:
    """Any order will do."""
    return order


def batches(split: Split, device: torch.device) -> Callable[[Any], tuple[Tensor, Any]]:
    """There are none.

    Raises:
        InputError: always.
    """
    raise NO_TARGETS


def monitor(outputs: Tensor, targets: Any) -> dict[str, float]:
    """Nothing."""
    return {}


def predict(outputs: npt.NDArray[Any], split: Split) -> npt.NDArray[Any]:
    """The outputs are the answer."""
    return outputs


def score(predictions: npt.NDArray[Any], split: Split) -> dict[str, float]:
    """None."""
    return {}


def decibels(
    expected: Sequence[npt.NDArray[Any]], found: Sequence[npt.NDArray[Any]]
) -> float | None:
    """The lowest ratio of signal to noise of all outputs, in dB; None where there is no noise."""
    lowest: float | None = None
    for wanted, given in zip(expected, found, strict=True):
        signal = float(np.square(wanted.astype(np.float64)).sum())
        noise = float(np.square(given.astype(np.float64) - wanted).sum())
        if noise > 0:
            ratio = 10 * math.log10(max(signal, 1e-300) / noise)
            lowest = ratio if lowest is None else min(lowest, ratio)
    return lowest
