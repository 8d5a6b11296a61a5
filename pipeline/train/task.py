"""What a network is trained for: what a batch is, the loss, and how good outputs are.

The training loop and evaluation are the same for all tasks; a task is what they ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from edgeticket.pipeline.data import Split
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.train import classification, transcription, unlabelled
from edgeticket.pipeline.train.augment import Draw

Loss = Callable[[Tensor, Any], Tensor]
"""(outputs of the module, targets of the batch) -> one number to make small."""

MakeBatch = Callable[[Draw], tuple[Batch, Any]]
"""Drawn examples -> those as stored, but changed as was drawn; and what is to be learnt of them."""


@dataclass(frozen=True)
class Task:
    """One kind of thing that networks learn."""

    loss: Callable[[TrainConfig], Loss]
    # An epoch's order of a split's examples, and the size of a batch -> perhaps a better order.
    arrange: Callable[[Tensor, Split, int], Tensor]
    batches: Callable[[Split, torch.device], MakeBatch]
    # Outputs and targets of a batch -> what to show of it besides the loss, shares 0..1.
    monitor: Callable[[Tensor, Any], Mapping[str, float]]
    # Outputs for `Split.queries` -> what the network says of each example.
    predict: Callable[[npt.NDArray[Any], Split], npt.NDArray[Any]]
    # That -> scores by name, as a manifest has them.
    score: Callable[[npt.NDArray[Any], Split], Mapping[str, float]]


def task_of(split: Split) -> Task:
    """What there is to be learnt from examples."""
    if split.spoken is not None:
        return TASKS["transcription"]
    return TASKS["nothing" if split.labels is None else "classification"]


TASKS: dict[str, Task] = {
    "classification": Task(
        loss=classification.loss,
        arrange=classification.arrange,
        batches=classification.batches,
        monitor=classification.monitor,
        predict=classification.predict,
        score=classification.score,
    ),
    "transcription": Task(
        loss=transcription.loss,
        arrange=transcription.arrange,
        batches=transcription.batches,
        monitor=transcription.monitor,
        predict=transcription.predict,
        score=transcription.score,
    ),
    "nothing": Task(
        loss=unlabelled.loss,
        arrange=unlabelled.arrange,
        batches=unlabelled.batches,
        monitor=unlabelled.monitor,
        predict=unlabelled.predict,
        score=unlabelled.score,
    ),
}
