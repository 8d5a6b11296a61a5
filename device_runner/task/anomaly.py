"""Anomaly: how unusual is it? The area under the ROC curve of a score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import (
    HIGHER,
    Flags,
    Floats,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    pick,
)
from edgeticket.device_runner.task.numbers import flat, flat_errors
from edgeticket.device_runner.task.ranking import RocAuc, average_precision, roc_auc
from edgeticket.device_runner.task.resampling import Reweighted
from edgeticket.device_runner.task.settings import Settings, choice, integer, number
from edgeticket.device_runner.task.targets import check_count, check_finite, check_integers, target
from edgeticket.device_runner.unavailable import Unavailable

_ANOMALOUS = "give 1 for each sample that is unusual, 0 for the others, [N]"
_INPUT = "give what the network should have rebuilt, in the shape of the output"


@dataclass(frozen=True)
class AnomalySettings(Settings):
    """Settings of the task `anomaly`."""

    output: int = integer(0, "the output to read")
    score: str = choice(
        "output",
        ("output", "error"),
        "what is high for unusual samples: the output (its mean, if it is more than one number), "
        "or the mean squared error of what was rebuilt",
    )
    threshold: float | None = number(
        None, "with `score: output`: two answers agree if both or neither are above this"
    )
    tolerance: float = number(
        0.05,
        "without `threshold`: two answers agree if their difference is at most this times the "
        "first, by Euclidean length",
        least=0,
        most=1e6,
    )

    def contradiction(self) -> str | None:
        if self.score == "error" and self.threshold is not None:
            return (
                f"threshold is {self.threshold}, but score is error, which needs the input: leave "
                "threshold out"
            )
        return None


def metrics(settings: AnomalySettings) -> tuple[Metric, ...]:
    """Of the order of samples by their scores."""
    return (
        Metric("auc", HIGHER, "share", "chance that an unusual sample scores above a usual one"),
        Metric("average_precision", HIGHER, "share", "precision, mean over unusual samples"),
    )


def means(output: npt.NDArray[Any]) -> Floats:
    """Output -> one number for each sample, summed exactly."""
    wide = flat(output)
    if wide.shape[1] == 1:
        return wide[:, 0]
    return np.array([math.fsum(row) / len(row) if len(row) else 0.0 for row in wide.tolist()])


def agree(outputs: Outputs, others: Outputs, settings: AnomalySettings) -> Flags:
    """Both are on the same side of the threshold; without one, they are near to one another."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    wide, other = flat(a), flat(b)
    flags: Flags = np.asarray((np.isfinite(wide) & np.isfinite(other)).all(axis=1))
    if settings.threshold is not None:
        with np.errstate(invalid="ignore"):
            limit = settings.threshold
            high, other_high = wide.mean(axis=1) > limit, other.mean(axis=1) > limit
            return np.asarray(flags & (high == other_high))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = ((wide - other) ** 2).sum(axis=1)
        near: Flags = apart <= settings.tolerance**2 * (wide**2).sum(axis=1)
    return flags & near


def check(targets: Targets, settings: AnomalySettings, count: int) -> None:
    """Refuse what is neither usual nor unusual."""
    anomalous = target(targets, "anomalous", _ANOMALOUS)
    check_count(anomalous, "anomalous", count)
    check_integers(anomalous, "anomalous")
    if anomalous.ndim != 1 or not np.isin(anomalous, (0, 1)).all():
        raise InputError(f"targets: 'anomalous' holds something else: {_ANOMALOUS}")
    if settings.score == "error":
        original = target(targets, "input", _INPUT)
        check_count(original, "input", count)
        check_finite(original, "input")


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: AnomalySettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.scores: list[Floats] = []

    def take(self, outputs: Outputs, samples: slice) -> None:
        index = self.settings.output
        output = pick(outputs, index)
        if self.settings.score == "error":
            output = flat_errors(output, self.targets["input"][samples], index) ** 2
        self.scores.append(means(output))

    def finish(self) -> Mapping[str, float | Unavailable]:
        scores = np.concatenate(self.scores)
        anomalous = self.targets["anomalous"] == 1
        return {
            "auc": roc_auc(scores, anomalous),
            "average_precision": average_precision(scores, anomalous),
        }

    def reweighted(self) -> Reweighted:
        area = RocAuc(np.concatenate(self.scores), self.targets["anomalous"] == 1)
        return Reweighted(self.count, self.count, area.of)


TASK = Task(
    name="anomaly",
    meaning="how unusual a sample is",
    settings=AnomalySettings,
    targets={
        "anomalous": "[N] 1 for unusual samples, 0 for others",
        "input?": "with `score: error`: what should have been rebuilt, in the shape of the output",
    },
    metrics=metrics,
    headline="auc",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
