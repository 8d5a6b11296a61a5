"""The task of telling classes apart; see `pipeline.train.task`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.pipeline.data import Recordings, Rows, Split
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.train.augment import Draw


def loss(cfg: TrainConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of logits [N, classes] and class indices [N], with label smoothing."""
    return functools.partial(F.cross_entropy, label_smoothing=cfg.label_smoothing)


def arrange(order: Tensor, split: Split, batch_size: int) -> Tensor:
    """All examples have one size: any order will do."""
    return order


def batches(split: Split, device: torch.device) -> Callable[[Draw], tuple[Tensor, Tensor]]:
    """Images stay uint8, recordings int16, and move to the device once, unless they are on disk."""
    stored = split.inputs
    assert not isinstance(stored, Recordings | Tensors)
    inputs = stored if isinstance(stored, Rows) else torch.from_numpy(stored).to(device)
    assert split.labels is not None
    labels = torch.from_numpy(split.labels).to(device)

    def batch(part: Draw) -> tuple[Tensor, Tensor]:
        if isinstance(inputs, Rows):
            examples = torch.from_numpy(inputs[part.order.numpy()]).to(device)
            part = part.to(device)
        else:
            part = part.to(device)
            examples = inputs[part.order]
        return part.apply(examples), labels[part.order]

    return batch


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
