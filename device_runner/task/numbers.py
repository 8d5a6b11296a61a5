"""Numbers: how much is it? Regression of any shape."""

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
    LOWER,
    Flags,
    Floats,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    in_rows,
    pick,
)
from edgeticket.device_runner.task.settings import Settings, integer, number
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.task.targets import check_count, check_finite, target
from edgeticket.device_runner.unavailable import Unavailable

_VALUES = "give the right numbers of each sample, in the shape of the output"


@dataclass(frozen=True)
class NumbersSettings(Settings):
    """Settings of the task `numbers`."""

    output: int = integer(0, "the output to read, of any shape")
    absolute: float = number(
        0.01, "two answers agree where they differ by at most this plus `relative`'s part", least=0
    )
    relative: float = number(0.01, "part of the first answer's size, added to `absolute`", least=0)


def metrics(settings: NumbersSettings) -> tuple[Metric, ...]:
    """Of errors: their size, their square, and what they leave of the targets' variance."""
    return (
        Metric(
            "mae",
            LOWER,
            "target",
            "absolute difference of output and target, mean over all numbers",
        ),
        Metric("rmse", LOWER, "target", "root of the mean of (output - target)^2"),
        Metric("r2", HIGHER, "", "1 - squared error / squared deviation, mean over positions"),
    )


def close(a: npt.NDArray[Any], b: npt.NDArray[Any], absolute: float, relative: float) -> Flags:
    """For each sample whether |a - b| <= absolute + relative * |a| for all numbers."""
    wide, other = flat(a), flat(b)
    with np.errstate(invalid="ignore", over="ignore"):
        within = np.abs(wide - other) <= absolute + relative * np.abs(wide)
    finite = np.isfinite(wide) & np.isfinite(other)
    return np.asarray((within & finite).all(axis=1))


def flat(array: npt.NDArray[Any]) -> Floats:
    """[N, ...] -> float64 [N, numbers]."""
    return in_rows(array).astype(np.float64)


def agree(outputs: Outputs, others: Outputs, settings: NumbersSettings) -> Flags:
    """All numbers are within the tolerance."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    return close(a, b, settings.absolute, settings.relative)


def check(targets: Targets, settings: NumbersSettings, count: int) -> None:
    """Refuse what is not finite."""
    values = target(targets, "values", _VALUES)
    check_count(values, "values", count)
    check_finite(values, "values")


def flat_errors(output: npt.NDArray[Any], right: npt.NDArray[Any], index: int) -> Floats:
    """Output and target of the same number of values a sample -> errors [N, numbers].

    Raises:
        InputError: they are not alike.
    """
    if tuple(n for n in output.shape[1:] if n > 1) != tuple(n for n in right.shape[1:] if n > 1):
        raise InputError(
            f"output {index} has shape {list(output.shape[1:])} for a sample, its target "
            f"{list(right.shape[1:])}: they must be alike"
        )
    return flat(output) - flat(right)


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: NumbersSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.absolute, self.squared = ExactSum(), ExactSum()
        self.left: Any = 0.0  # squared errors by position
        self.size = 1

    def take(self, outputs: Outputs, samples: slice) -> None:
        index = self.settings.output
        errors = flat_errors(pick(outputs, index), self.targets["values"][samples], index)
        self.size = errors.shape[1]
        for row in errors:  # one by one, so that batches change no number
            square = row * row
            self.parts.append((float(np.abs(row).sum()), float(self.size)))
            self.absolute.add(self.parts[-1][0])
            self.squared.add(float(square.sum()))
            self.left = self.left + square

    def finish(self) -> Mapping[str, float | Unavailable]:
        numbers = self.seen * self.size
        if numbers == 0:
            return dict.fromkeys(("mae", "rmse", "r2"), Unavailable("the outputs are empty"))
        return {
            "mae": self.absolute.total / numbers,
            "rmse": math.sqrt(self.squared.total / numbers),
            "r2": self._r2(),
        }

    def _r2(self) -> float | Unavailable:
        values = flat(self.targets["values"])
        varied = (values != values[:1]).any(axis=0)
        if not varied.any():
            return Unavailable("the targets are the same for all samples")
        deviation = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        return float((1.0 - self.left[varied] / deviation[varied]).mean())


TASK = Task(
    name="numbers",
    meaning="how much: numbers of any shape (regression)",
    settings=NumbersSettings,
    targets={"values": "[N, ...] real numbers, in the shape of the output"},
    metrics=metrics,
    headline="mae",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
