"""Nothing is asked: outputs have no targets, and only their fidelity can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeticket.device_runner.task.kind import (
    Flags,
    Metric,
    Outputs,
    Tally,
    Targets,
    Task,
    finite_samples,
)
from edgeticket.device_runner.task.numbers import flat
from edgeticket.device_runner.task.settings import Settings, number
from edgeticket.device_runner.unavailable import Unavailable


@dataclass(frozen=True)
class NothingSettings(Settings):
    """Settings of the task `nothing`."""

    agree_db: float = number(
        20.0,
        "two answers agree if the SQNR of each output is at least this, or they are equal",
        least=-300,
        most=300,
    )

    def used(self, count: int) -> tuple[int, ...]:
        return tuple(range(count))


def metrics(settings: NothingSettings) -> tuple[Metric, ...]:
    """None: see `device_runner.task.fidelity`."""
    return ()


def agree(outputs: Outputs, others: Outputs, settings: NothingSettings) -> Flags:
    """Each output is near enough to its reference, the first one's."""
    flags: Flags = np.ones(len(outputs[0]), dtype=np.bool_)
    ratio = 10.0 ** (settings.agree_db / 10.0)
    for a, b in zip(outputs, others):
        wide, other = flat(a), flat(b)
        with np.errstate(invalid="ignore", over="ignore"):
            signal, noise = (wide**2).sum(axis=1), ((wide - other) ** 2).sum(axis=1)
            near = (noise * ratio <= signal) & finite_samples(a) & finite_samples(b)
        flags = flags & near
    return flags


def check(targets: Targets, settings: NothingSettings, count: int) -> None:
    """There are none."""


class _Tally(Tally):
    metrics_of = metrics

    def take(self, outputs: Outputs, samples: slice) -> None:
        """Nothing is kept."""

    def finish(self) -> Mapping[str, float | Unavailable]:
        return {}


TASK = Task(
    name="nothing",
    meaning="no targets: fidelity alone",
    settings=NothingSettings,
    targets={},
    metrics=metrics,
    headline=None,
    check_targets=check,
    make_tally=_Tally,
    same_answers=agree,
)
