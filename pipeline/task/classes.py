"""The task of telling classes apart; see `pipeline.task.kind`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.task.kind import HIGHER, Metric
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task.kind import Array, Kept, Loss, MakeTargets, Task

TOP1 = Metric("top1", HIGHER, "share", "samples whose highest output is that of their class")


def loss(cfg: TrainConfig, split: Split) -> Loss:
    """Cross-entropy of logits [N, classes] and class indices [N], with label smoothing."""
    return functools.partial(F.cross_entropy, label_smoothing=cfg.label_smoothing)


def targets(split: Split, device: torch.device) -> MakeTargets:
    """Class indices, int64 [N]."""
    assert split.labels is not None
    labels = torch.from_numpy(split.labels).to(device)
    return lambda order: labels[order]


def monitor(outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """The share of right answers."""
    return {"accuracy": (outputs.argmax(1) == labels).float().mean().item()}


def predict(outputs: npt.NDArray[Any], split: Split) -> npt.NDArray[np.int64]:
    """Outputs [N, classes] -> classes [N]; of equal outputs the first wins."""
    classes: npt.NDArray[np.int64] = outputs.argmax(1)
    return classes


def score(predictions: npt.NDArray[np.int64], split: Split) -> dict[str, float]:
    """The share of right ones."""
    assert split.labels is not None
    return {"top1": float((predictions == split.labels).mean())}


def agree(outputs: Sequence[Array], others: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """The same class is highest."""
    return np.asarray(outputs[0].argmax(1) == others[0].argmax(1))


TASK = Task(
    headline=TOP1,
    metrics=(TOP1,),
    loss=loss,
    targets=targets,
    monitor=monitor,
    judge=lambda split: Kept(split, predict, score),
    agree=agree,
)
