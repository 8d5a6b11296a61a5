"""One step of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from edgeticket.pipeline.graph.batches import Batch, tensors_of
from edgeticket.pipeline.train.task import Loss


@dataclass(frozen=True)
class Step:
    """What is done with a batch: forward, loss, backward, and a step of each optimizer."""

    fabric: Fabric
    network: nn.Module
    optimizers: Sequence[Any]
    loss: Loss
    lesson: nn.Module | None  # takes the place of the loss
    penalty: Callable[[], Tensor | float] | None

    def __call__(self, seen: Batch, batch: Batch, targets: Any) -> tuple[Any, float]:
        """The batch as a teacher sees it, and as the network does -> outputs, loss.

        If the loss is no finite number, nothing has been learnt.
        """
        outputs = self.network(*tensors_of(batch))
        if self.lesson is None:
            loss = self.loss(outputs, targets)
        else:
            with self.fabric.autocast():
                loss = self.lesson(seen, outputs, targets)
        if self.penalty is not None:
            loss = loss + self.penalty()
        value = loss.item()
        if math.isfinite(value):
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            self.fabric.backward(loss)
            for optimizer in self.optimizers:
                optimizer.step()
        return outputs, value
