"""Labels: which of several are there, any number of them? Mean average precision and F1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.activations import ACTIVATIONS
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
    in_rows,
    pick,
)
from edgeticket.device_runner.task.ranking import AveragePrecision, average_precision
from edgeticket.device_runner.task.resampling import Reweighted
from edgeticket.device_runner.task.settings import Settings, choice, integer, share
from edgeticket.device_runner.task.targets import check_count, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

UNKNOWN = -1
_LABELS = "give 1 where a label holds, 0 where not, -1 where nobody knows, [N, labels]"


@dataclass(frozen=True)
class LabelsSettings(Settings):
    """Settings of the task `labels`."""

    output: int = integer(0, "the output to read, [N, labels]")
    activation: str = choice("none", ("none", "sigmoid"), "what turns it into probabilities")
    threshold: float = share(0.5, "a label is given where its probability is above this")


def metrics(settings: LabelsSettings) -> tuple[Metric, ...]:
    """Of the order of outputs, and of the labels that are given."""
    return (
        Metric("map", HIGHER, "share", "mean over labels of their average precision"),
        Metric("f1_macro", HIGHER, "share", "mean over labels of 2 TP / (2 TP + FP + FN)"),
        Metric("f1_micro", HIGHER, "share", "2 TP / (2 TP + FP + FN) of all labels together"),
    )


def given(values: npt.NDArray[Any], settings: LabelsSettings) -> Flags:
    """Outputs -> the labels that are given."""
    flags: Flags = ACTIVATIONS[settings.activation](values) > settings.threshold
    return flags


def agree(outputs: Outputs, others: Outputs, settings: LabelsSettings) -> Flags:
    """The same labels are given."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    same = in_rows(given(a, settings) == given(b, settings)).all(axis=1)
    flags: Flags = same & finite_samples(a) & finite_samples(b)
    return flags


def check(targets: Targets, settings: LabelsSettings, count: int) -> None:
    """Refuse what is neither 0, 1 nor unknown."""
    labels = target(targets, "labels", _LABELS)
    check_count(labels, "labels", count)
    check_integers(labels, "labels")
    if labels.ndim != 2:
        raise InputError(f"targets: 'labels' has shape {list(labels.shape)}: {_LABELS}")
    wrong = np.argwhere((labels != 0) & (labels != 1) & (labels != UNKNOWN))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InputError(
            f"targets: label {column} of sample {row} is {labels[row, column]}: {_LABELS}"
        )


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: LabelsSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.values: list[npt.NDArray[Any]] = []

    def take(self, outputs: Outputs, samples: slice) -> None:
        values = pick(outputs, self.settings.output)
        values = in_rows(values)
        labels = self.targets["labels"].shape[1]
        if values.shape[1] != labels:
            raise InputError(
                f"output {self.settings.output} gives {values.shape[1]} numbers for a sample, "
                f"the targets have {labels} labels: they must be alike"
            )
        self.values.append(values.copy())

    def finish(self) -> Mapping[str, float | Unavailable]:
        values, labels = np.concatenate(self.values), self.targets["labels"]
        known, positive = labels != UNKNOWN, labels == 1
        # Of outputs, not of probabilities: a sigmoid makes ties of large ones.
        precisions = [
            average_precision(values[known[:, i], i], positive[known[:, i], i])
            for i in range(labels.shape[1])
        ]
        scored = [p for p in precisions if not isinstance(p, Unavailable)]
        claimed = given(values, self.settings)
        hits = (claimed & positive).sum(axis=0)
        misses = ((claimed != positive) & known).sum(axis=0)
        f1 = [2 * h / (2 * h + m) for h, m in zip(hits.tolist(), misses.tolist()) if h + m]
        none = Unavailable("no label holds for any sample")
        unclaimed = Unavailable("no label holds for any sample, and none is given")
        total = 2 * int(hits.sum()) + int(misses.sum())
        return {
            "map": sum(scored) / len(scored) if scored else none,
            "f1_macro": sum(f1) / len(f1) if f1 else unclaimed,
            "f1_micro": 2 * int(hits.sum()) / total if total else unclaimed,
        }

    def reweighted(self) -> Reweighted:
        values, labels = np.concatenate(self.values), self.targets["labels"]
        known = labels != UNKNOWN
        each = [
            (rows, AveragePrecision(values[rows, i], labels[rows, i] == 1))
            for i, rows in enumerate(known.T)
            if rows.any()
        ]

        def score(counts: npt.NDArray[np.int64]) -> float | None:
            precisions = [one.of(counts[rows]) for rows, one in each]
            scored = [p for p in precisions if p is not None]
            return sum(scored) / len(scored) if scored else None

        return Reweighted(self.count, labels.size, score)


TASK = Task(
    name="labels",
    meaning="which of several labels, any number of them",
    settings=LabelsSettings,
    targets={"labels": "[N, labels] whole numbers: 1 holds, 0 not, -1 unknown"},
    metrics=metrics,
    headline="map",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
