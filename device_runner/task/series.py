"""Series: how does it go on? Forecasts, and how much better they are than yesterday's value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import (
    LOWER,
    Flags,
    Floats,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    pick,
)
from edgeticket.device_runner.task.numbers import close, flat_errors
from edgeticket.device_runner.task.settings import Settings, integer, number
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.task.targets import check_count, check_finite, target
from edgeticket.device_runner.unavailable import Unavailable

_FUTURE = "give how each series went on, [N, steps] or [N, steps, channels]"


@dataclass(frozen=True)
class SeriesSettings(Settings):
    """Settings of the task `series`."""

    output: int = integer(0, "the output to read, [N, steps] or [N, steps, channels]")
    season: int = integer(
        1, "of MASE: the value so many steps ago is what a forecast has to beat", least=1
    )
    absolute: float = number(
        0.01, "two answers agree where they differ by at most this plus `relative`'s part", least=0
    )
    relative: float = number(0.01, "part of the first answer's size, added to `absolute`", least=0)


def metrics(settings: SeriesSettings) -> tuple[Metric, ...]:
    """Of errors, in the targets' unit and by the error of the naive forecast."""
    return (
        Metric(
            "mae", LOWER, "target", "absolute difference of output and target, mean over all steps"
        ),
        Metric("rmse", LOWER, "target", "root of the mean of (output - target)^2"),
        Metric("mase", LOWER, "", "mean over series and channels of MAE / naive MAE of the past"),
    )


def naive_errors(past: Any, season: int) -> Floats:
    """Series [N, steps, channels] -> mean of |x_t - x_(t - season)|, [N, channels].

    Hyndman and Koehler 2006.
    """
    wide = past.astype(np.float64)
    steps = np.abs(wide[:, season:] - wide[:, :-season])
    errors: Floats = steps.mean(axis=1)
    return errors


def agree(outputs: Outputs, others: Outputs, settings: SeriesSettings) -> Flags:
    """All steps are within the tolerance."""
    a, b = pick(outputs, settings.output), pick(others, settings.output)
    return close(a, b, settings.absolute, settings.relative)


def check(targets: Targets, settings: SeriesSettings, count: int) -> None:
    """Refuse series that are not finite, or too short to have a naive forecast."""
    future = target(targets, "future", _FUTURE)
    check_count(future, "future", count)
    check_finite(future, "future")
    if future.ndim not in (2, 3) or 0 in future.shape[1:]:
        raise InputError(f"targets: 'future' has shape {list(future.shape)}: {_FUTURE}")
    if "past" not in targets:
        return
    past = targets["past"]
    check_count(past, "past", count)
    check_finite(past, "past")
    if past.ndim != future.ndim or past.shape[2:] != future.shape[2:]:
        raise InputError(
            f"targets: 'past' has shape {list(past.shape)}, 'future' {list(future.shape)}: they "
            "may differ in their number of steps alone"
        )
    if past.shape[1] <= settings.season:
        raise InputError(
            f"targets: 'past' has {past.shape[1]} steps: with a season of {settings.season} it "
            f"needs {settings.season + 1} at least"
        )


class _Tally(Tally):
    metrics_of = metrics

    def __init__(self, targets: Targets, settings: SeriesSettings, count: int) -> None:
        super().__init__(targets, settings, count)
        self.absolute, self.squared, self.scaled = ExactSum(), ExactSum(), ExactSum()

    def take(self, outputs: Outputs, samples: slice) -> None:
        index = self.settings.output
        future = self.targets["future"][samples]
        errors = flat_errors(pick(outputs, index), future, index)
        absolute = np.abs(errors).mean(axis=1).tolist()
        self.parts.extend((value, 1.0) for value in absolute)
        self.absolute.extend(absolute)
        self.squared.extend((errors**2).mean(axis=1).tolist())
        if "past" not in self.targets:
            return
        by_step = np.abs(errors).reshape(*future.shape[:2], -1)
        past = self.targets["past"][samples]
        naive = naive_errors(past.reshape(*past.shape[:2], -1), self.settings.season)
        varied = naive > 0
        self.scaled.extend((by_step.mean(axis=1)[varied] / naive[varied]).tolist())

    def finish(self) -> Mapping[str, float | Unavailable]:
        if "past" not in self.targets:
            mase: float | Unavailable = Unavailable("the targets have no past")
        elif self.scaled.count == 0:
            mase = Unavailable("the past never changes, so the naive forecast has no error")
        else:
            mase = self.scaled.mean
        return {"mae": self.absolute.mean, "rmse": math.sqrt(self.squared.mean), "mase": mase}


TASK = Task(
    name="series",
    meaning="how a series goes on (forecasting)",
    settings=SeriesSettings,
    targets={
        "future": "[N, steps] or [N, steps, channels]",
        "past?": "the same with the steps before, for MASE",
    },
    metrics=metrics,
    headline="mae",
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
