"""Examples without targets: there is nothing to learn of them, and nothing to be right about.

A network can learn to answer them as another one does (`pipeline.train.fidelity`). See
`pipeline.task.kind`; what rounding costs is told by fidelity (`Noise`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task.kind import Array, Judged, Loss, MakeTargets, Task

NO_TARGETS = InputError(
    "the data have no targets, so that nothing can be trained on them: leave out what trains "
    "(ptq and qat need none), or give data with labels"
)


def loss(cfg: TrainConfig, split: Split) -> Loss:
    """There is none.

    Raises:
        InputError: always.
    """
    raise NO_TARGETS


def targets(split: Split, device: torch.device) -> MakeTargets:
    """There are none: a loss that needs none gets the inputs themselves."""
    return lambda order: None


def monitor(outputs: Any, targets: Any) -> dict[str, float]:
    """Nothing."""
    return {}


class Unjudged:
    """A judge that has nothing to say."""

    def add(self, outputs: Sequence[Array]) -> None:
        pass

    def finish(self) -> Judged:
        return Judged({}, np.zeros(0), ())


class Noise:
    """How far outputs are from those of another network, summed up batch by batch."""

    def __init__(self) -> None:
        self.sums: list[list[float]] = []  # of each output: signal, noise

    def add(self, outputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Take the outputs for some examples, and what they should be."""
        if not self.sums:
            self.sums = [[0.0, 0.0] for _ in wanted]
        for sums, given, right in zip(self.sums, outputs, wanted, strict=True):
            sums[0] += float(np.square(right.astype(np.float64)).sum())
            sums[1] += float(np.square(given.astype(np.float64) - right).sum())

    @property
    def decibels(self) -> float | None:
        """The lowest ratio of signal to noise of all outputs, in dB; None: there is no noise."""
        ratios = [10 * math.log10(max(s, 1e-300) / n) for s, n in self.sums if n > 0]
        return min(ratios, default=None)


TASK = Task(
    headline=None,
    metrics=(),
    loss=loss,
    targets=targets,
    monitor=monitor,
    judge=lambda split: Unjudged(),
    agree=None,
)
