"""One epoch of a training: every batch in the order that is drawn for it."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.progress import Advance
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task import Task, task_of
from edgeticket.pipeline.train.augment import Draw, draw
from edgeticket.pipeline.train.batches import MakeBatch, as_taken, batches_of
from edgeticket.pipeline.train.distil import Answers
from edgeticket.pipeline.train.kept_answers import KeptAnswers
from edgeticket.pipeline.train.optimizers import Optimizers, zero
from edgeticket.pipeline.train.pace import Pace
from edgeticket.pipeline.train.step import Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Epoch:
    """What all epochs of a training have in common."""

    fabric: Fabric
    learn: Step
    optimizers: Optimizers
    gone: Mapping[nn.Parameter, Tensor]  # where weights stay zero
    split: Split
    cfg: TrainConfig
    preprocessing: Sequence[Mapping[str, Any]]
    seed: int
    title: str
    # Examples as they are stored -> what a teacher answers; None: whoever wants to know, asks it.
    ask: Callable[[Batch], Answers] | None
    pace: Pace = field(default_factory=Pace)

    @property
    def steps(self) -> int:
        """Batches of one epoch."""
        return steps_per_epoch(self.split, self.cfg)

    @functools.cached_property
    def task(self) -> Task:
        """What is learnt of the examples."""
        return task_of(self.split)

    @functools.cached_property
    def make_batch(self) -> MakeBatch:
        """Examples are moved to the device once."""
        device = self.fabric.device
        return batches_of(self.split, self.task.targets(self.split, device), device)

    @functools.cached_property
    def kept(self) -> KeptAnswers | None:
        """What the teacher says, where it looks at the same views again and again."""
        if self.ask is None or self.cfg.views is None:
            return None
        return KeptAnswers(self.ask, lambda part: self.make_batch(part)[0], self.batch_size)

    @property
    def batch_size(self) -> int:
        """Examples of a batch, on all devices together."""
        return min(self.cfg.batch_size, len(self.split))

    def run(self, epoch: int, advance: Advance) -> None:
        """Learn from every batch of epoch number ``epoch``.

        Raises:
            InputError: the loss is no longer a number.
        """
        # All randomness comes from (seed, epoch), so that no generator needs to be saved.
        torch.manual_seed(derived_seed(self.seed, epoch, self.fabric.global_rank))
        drawn = self._draw(epoch)
        if self.kept is not None:
            number = self._view_number(epoch)
            self.kept.ready(number, lambda: self._view(number), lambda note: advance(0, note))
        totals, total_loss = Counter[str](), 0.0
        for step in range(self.steps):
            value, scores = self._learn(drawn, epoch, step)
            total_loss += value
            totals.update(scores)
            done = step + 1
            means = [f"{name} {total / done:{self.task.shown}}" for name, total in totals.items()]
            advance(1, ", ".join([f"loss {total_loss / done:.3f}", *means]))

    def _draw(self, epoch: int) -> Draw:
        """The order of the examples and their changes; the same on every device."""
        drawn = draw(self.cfg.augment, len(self.split), seed=derived_seed(self.seed, epoch, 0))
        order = self.task.arrange(drawn.order, self.split, self.batch_size)
        if self.cfg.views is None:
            return replace(drawn, order=order)
        return self._view(self._view_number(epoch)).take(order)

    def _view(self, number: int) -> Draw:
        """All examples in their own order, as view ``number`` changes them."""
        seed = derived_seed(self.seed, "view", number)
        changed = draw(self.cfg.augment, len(self.split), seed=seed)
        return replace(changed, order=torch.arange(len(self.split)))

    def _view_number(self, epoch: int) -> int:
        return epoch % (self.cfg.views or 1)

    def _learn(self, drawn: Draw, epoch: int, step: int) -> tuple[float, Mapping[str, float]]:
        """One batch -> its loss, and what the task shows of it."""
        self.optimizers.set_rates((epoch * self.steps + step) / (self.cfg.epochs * self.steps))
        part = self._part(drawn, step)
        batch, targets = self.make_batch(part)
        seen = as_taken(batch, self.preprocessing, part)
        if targets is None:  # what is to be learnt follows from the inputs
            targets = seen
        taught = None
        if self.kept is not None:
            taught = self.kept.of(self._view_number(epoch), part.order)
        with self.pace.step(len(part.order)):
            outputs, value = self.learn(batch, seen, targets, taught)
        if not math.isfinite(value):
            raise InputError(
                f"{self.title}: the loss is {value} in epoch {epoch + 1}, step {step + 1}: lower "
                f"train.lr ({self.cfg.lr:g}), or lengthen train.warmup ({self.cfg.warmup:g})"
            )
        zero(self.gone, self.optimizers.all)
        return value, self.task.monitor(outputs, targets)

    def _part(self, drawn: Draw, step: int) -> Draw:
        """This device's part of a batch; the batch size is that of all devices together."""
        first, end = step * self.batch_size, (step + 1) * self.batch_size
        return drawn.take(slice(first + self.fabric.global_rank, end, self.fabric.world_size))


def steps_per_epoch(split: Split, cfg: TrainConfig) -> int:
    """Batches of one epoch; what does not fill a batch waits for the next epoch's order."""
    return max(1, len(split) // cfg.batch_size)


def derived_seed(*numbers: int | str) -> int:
    """A seed for one purpose, unlike those of all others."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:7], "big")
