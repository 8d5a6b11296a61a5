"""Classes: which one of several is it? Top-1 and top-k accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Integers,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    in_rows,
    pick,
)
from edgeticket.device_runner.task.settings import Settings, integer
from edgeticket.device_runner.task.targets import check_count, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

_LABEL = "give the class of each sample, [N]"


@dataclass(frozen=True)
class ClassesSettings(Settings):
    """Settings of the task `classes`."""

    output: int = integer(0, "the output to read, [N, classes]")
    k: int = integer(5, "of top-k: how many of the highest may hold the right class", least=2)


def metrics(settings: ClassesSettings) -> tuple[Metric, ...]:
    """Top-1, and top-k by the name of its k."""
    k = settings.k
    return (
        Metric("top1", HIGHER, "share", "samples whose highest output is that of their class"),
        Metric(f"top{k}", HIGHER, "share", f"samples whose class is among the {k} highest outputs"),
    )


def ranks(values: Any, labels: Integers) -> Integers:
    """Outputs [N, classes], labels [N] -> how many classes stand before the right one.

    Of equal outputs the lowest index is first.
    """
    right = values[np.arange(len(values)), labels][:, np.newaxis]
    earlier = np.arange(values.shape[1]) < labels[:, np.newaxis]
    before: Integers = ((values > right) | ((values == right) & earlier)).sum(axis=1)
    return before


def agree(outputs: Outputs, others: Outputs, settings: ClassesSettings) -> Flags:
    """The same class is highest."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    a, b = in_rows(a), in_rows(b)
    same: Flags = a.argmax(axis=1) == b.argmax(axis=1)
    return same & finite_samples(a) & finite_samples(b)


def check(targets: Targets, settings: ClassesSettings, count: int) -> None:
    """Refuse labels that cannot be classes."""
    labels = target(targets, "label", _LABEL)
    check_count(labels, "label", count)
    check_integers(labels, "label")
    if labels.ndim != 1:
        raise InputError(f"targets: 'label' has shape {list(labels.shape)}: {_LABEL}")
    if count and labels.min() < 0:
        sample = int(labels.argmin())
        raise InputError(
            f"targets: the label of sample {sample} is {labels[sample]}: classes are from 0 on"
        )


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: ClassesSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.first = self.among = self.classes = 0

    def take(self, outputs: Outputs, samples: slice) -> None:
        values = pick(outputs, self.settings.output)
        values = in_rows(values)
        labels = self.targets["label"][samples].astype(np.int64)
        self.classes = values.shape[1]
        if labels.max() >= self.classes:
            sample = int(labels.argmax())
            raise InputError(
                f"targets: the label of sample {samples.start + sample} is {labels[sample]}, "
                f"output {self.settings.output} has {self.classes} classes, counted from 0"
            )
        before = ranks(values, labels)
        self.first += int((before == 0).sum())
        self.among += int((before < self.settings.k).sum())

    def finish(self) -> Mapping[str, float | Unavailable]:
        k = self.settings.k
        among: float | Unavailable = self.among / self.seen
        if self.classes <= k:
            among = Unavailable(f"top-{k} says nothing about {self.classes} classes")
        return {"top1": self.first / self.seen, f"top{k}": among}


TASK = Task(
    name="classes",
    meaning="which one of several classes",
    settings=ClassesSettings,
    targets={"label": "[N] whole numbers from 0"},
    metrics=metrics,
    headline="top1",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
