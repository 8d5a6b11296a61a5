"""Tasks that `device_runner.task` judges: what training needs besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeticket.device_runner.manifest import Task as NamedTask
from edgeticket.device_runner.task import Task as Judging
from edgeticket.device_runner.task import get_task
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.geometry import boxes_in_input
from edgeticket.pipeline.graph.batches import tensors_of
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task.kind import Array, Judged, Loss, MakeTargets, Task

TargetLoss = Callable[[tuple[Tensor, ...], Mapping[str, Tensor]], Tensor]
"""(all outputs, targets of the batch by name) -> one number."""


@dataclass(frozen=True)
class Learnt:
    """How a task is learnt; its targets, metrics and settings are those of `device_runner.task`.

    Attributes:
        name: of the task.
        losses: by the name that recipes give; each makes one of the task's settings.
        default: settings -> the loss where a recipe names none.
        monitor: outputs, targets, settings -> what to show while training.
        shown: how those numbers are written.
        arrange: as `Task` has it.
        refuse: outputs for some examples, settings -> why no loss of these can be learnt.
        misfit: the same, and the targets of all -> why outputs and targets do not fit.
    """

    name: str
    losses: Mapping[str, Callable[[Any], TargetLoss]]
    default: Callable[[Any], str]
    monitor: Callable[[tuple[Tensor, ...], Mapping[str, Tensor], Any], Mapping[str, float]] = (
        lambda outputs, targets, settings: {}
    )
    shown: str = ".1%"
    arrange: Callable[[Tensor, Split, int], Tensor] = lambda order, split, batch_size: order
    refuse: Callable[[Sequence[Array], Any], str | None] = lambda outputs, settings: None
    misfit: Callable[[Sequence[Array], Mapping[str, Array], Any], str | None] = (
        lambda outputs, targets, settings: None
    )

    def with_settings(self, named: NamedTask) -> Task:
        """The task that a data set names."""
        judging = get_task(self.name)
        settings = judging.settings.from_json(dict(named.settings))
        metrics = judging.metrics(settings)

        def loss(cfg: TrainConfig, split: Split) -> Loss:
            chosen = self.losses[cfg.loss or self.default(settings)](settings)
            return lambda outputs, targets: chosen(tensors_of(outputs), targets)

        def agree(outputs: Sequence[Array], others: Sequence[Array]) -> npt.NDArray[np.bool_]:
            return judging.agree(outputs, others, settings)

        def misfit(outputs: Sequence[Array], split: Split) -> str | None:
            assert split.targets is not None
            return self.misfit(outputs, split.targets.arrays, settings)

        return Task(
            headline=next((m for m in metrics if m.name == judging.headline), None),
            metrics=metrics,
            loss=loss,
            targets=targets_of,
            monitor=lambda outputs, targets: self.monitor(tensors_of(outputs), targets, settings),
            judge=lambda split: Tallied(judging, settings, split),
            agree=agree,
            arrange=self.arrange,
            shown=self.shown,
            refuse=lambda outputs: self.refuse(outputs, settings),
            misfit=misfit,
        )


class Tallied:
    """A judge that keeps no outputs: the task sums them up as devices do."""

    def __init__(self, judging: Judging, settings: Any, split: Split) -> None:
        assert split.targets is not None
        self.tally = judging.tally(dict(split.targets.arrays), settings, len(split))

    def add(self, outputs: Sequence[Array]) -> None:
        self.tally.add(outputs)

    def finish(self) -> Judged:
        return Judged(self.tally.metrics(), np.zeros(0), ())


def targets_of(split: Split, device: torch.device) -> MakeTargets:
    """Arrays of the targets by name: real ones as float32, whole ones as int64.

    Where examples have any number of things, ``sample`` says whose each is, from 0 in every batch.
    Boxes are in pixels of the network's input, whatever they are judged in.
    """
    assert split.targets is not None
    targets = boxes_in_input(split.targets)

    def some(order: Tensor) -> dict[str, Tensor]:
        taken = targets.take(order.cpu().numpy())
        return {name: as_tensor(array).to(device) for name, array in taken.arrays.items()}

    return some


def as_tensor(array: Array) -> Tensor:
    """A target as losses take it."""
    kind = np.float32 if array.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))
