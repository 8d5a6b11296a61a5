"""What a network is trained for: which targets, which loss, and how good outputs are.

The training loop and evaluation are the same for all tasks; a task is what they ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.recipe import TrainConfig

Loss = Callable[[Any, Any], Tensor]
"""(outputs of the module: a tensor, or a tuple of several; targets of the batch) -> one number to
make small."""

Scores = Mapping[str, float | Unavailable]
Array = npt.NDArray[Any]

MakeTargets = Callable[[Tensor], Any]
"""Numbers of examples -> what is to be learnt of them."""


@dataclass(frozen=True, eq=False)
class Judged:
    """How good outputs are, and what of them is worth keeping."""

    scores: Scores
    predictions: Array  # [N], classes or texts; of other tasks none
    outputs: tuple[Array, ...]  # of each output, [N, ...]; where they are small


class Judge(Protocol):
    """Takes outputs batch by batch, in the order of the examples."""

    def add(self, outputs: Sequence[Array]) -> None:
        """Take those for the next examples."""

    def finish(self) -> Judged:
        """What they are worth."""


@dataclass(frozen=True)
class Task:
    """One kind of thing that networks learn.

    Attributes:
        headline: the metric that stands for all; None: nothing is asked.
        metrics: all of them.
        loss: a training, and the examples -> what is made small.
        targets: examples -> what is right for some of them, on a device.
        arrange: an epoch's order of examples, and the size of a batch -> perhaps a better order.
        monitor: outputs and targets of a batch -> what to show of it besides the loss.
        shown: how those numbers are written.
        judge: examples -> what tells how good outputs for all of them are.
        agree: outputs of two networks -> for each example whether the answer is the same; None
            where only all outputs together are an answer.
    """

    headline: Metric | None
    metrics: tuple[Metric, ...]
    loss: Callable[[TrainConfig, Split], Loss]
    targets: Callable[[Split, torch.device], MakeTargets]
    monitor: Callable[[Any, Any], Mapping[str, float]]
    judge: Callable[[Split], Judge]
    agree: Callable[[Sequence[Array], Sequence[Array]], npt.NDArray[np.bool_]] | None
    arrange: Callable[[Tensor, Split, int], Tensor] = lambda order, split, batch_size: order
    shown: str = ".1%"
    # Outputs for some examples -> why no loss of the task can be learnt from them.
    refuse: Callable[[Sequence[Array]], str | None] = lambda outputs: None
    # The same, and all examples -> why outputs and targets do not fit.
    misfit: Callable[[Sequence[Array], Split], str | None] = lambda outputs, split: None


class Kept:
    """A judge of answers that only all outputs together give; they are small."""

    def __init__(
        self,
        split: Split,
        predict: Callable[[Array, Split], Array],
        score: Callable[[Array, Split], Mapping[str, float]],
    ) -> None:
        self.split, self.predict, self.score = split, predict, score
        self.outputs: list[tuple[Array, ...]] = []

    def add(self, outputs: Sequence[Array]) -> None:
        self.outputs.append(tuple(outputs))

    def finish(self) -> Judged:
        whole = tuple(np.concatenate(parts) for parts in zip(*self.outputs, strict=True))
        predictions = self.predict(whole[0], self.split)
        return Judged(self.score(predictions, self.split), predictions, whole)
