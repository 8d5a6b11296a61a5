"""Examples without targets: there is nothing to learn of them, and nothing to be right about.

A network can learn to answer them as another one does (`pipeline.train.fidelity`). See
`pipeline.train.task`; what rounding costs is told by fidelity (`decibels`).
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
from edgeticket.pipeline.data import Recordings, Split
from edgeticket.pipeline.data.tensors import Tensors, channels_first
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.train.augment import Draw

NO_TARGETS = InputError(
    "the data have no targets, so that nothing can be trained on them: leave out what trains "
    "(ptq and qat need none), or give data with labels"
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


def batches(split: Split, device: torch.device) -> Callable[[Draw], tuple[Batch, Batch]]:
    """Examples as they are stored, twice: what is to be learnt of them follows from themselves."""
    stored = split.inputs
    assert not isinstance(stored, Recordings)

    def batch(part: Draw) -> tuple[Batch, Batch]:
        some = stored[part.order.numpy()]
        if isinstance(some, Tensors):
            arrays = tuple(
                torch.from_numpy(np.ascontiguousarray(channels_first(array))).to(device)
                for array in some.arrays
            )
            return arrays, arrays
        examples = part.to(device).apply(torch.from_numpy(some).to(device))
        return examples, examples

    return batch


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
