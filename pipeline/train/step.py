"""One step of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of
from edgeticket.pipeline.task import Loss
from edgeticket.pipeline.train.distil import Answers

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Step:
    """What is done with a batch: forward, loss, backward, and a step of each optimizer."""

    fabric: Fabric
    network: nn.Module
    optimizers: Sequence[Any]
    loss: Loss
    lesson: nn.Module | None  # takes the place of the loss
    penalty: Callable[[], Tensor | float] | None

    def __call__(
        self, seen: Batch, batch: Batch, targets: Any, taught: Answers | None = None
    ) -> tuple[Any, float]:
        """The batch as a teacher sees it, and as the network does -> outputs, loss.

        ``taught`` is what the teacher answers, if that is known.
        If the loss is no finite number, nothing has been learnt.
        """
        outputs = self.network(*tensors_of(batch))
        if not isinstance(outputs, Tensor):
            leaves = leaves_of(outputs)
            outputs = leaves[0] if len(leaves) == 1 else leaves
        if self.lesson is None:
            loss = self.loss(outputs, targets)
        else:
            with self.fabric.autocast():
                loss = self.lesson(seen, outputs, targets, taught)
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
