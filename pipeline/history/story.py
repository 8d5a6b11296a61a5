"""What became of a series: noise, changes of time, changes of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeticket.pipeline.history.noise import LEAST_RUNS, find_changes
from edgeticket.pipeline.history.series import Run, Series, gather, read_all


@dataclass(frozen=True)
class TimeChange:
    """From run ``at`` on, p90 is another: of the level before it by ``share``."""

    at: int  # number of the run in the series
    started_utc: str
    share: float  # 0.05: a twentieth longer
    before_ms: float
    behind_ms: float
    chance: float  # how often chance alone makes one as clear
    along: tuple[str, ...]  # what else is another from this run on


@dataclass(frozen=True)
class AnswerChange:
    """Run ``at`` answers the same samples otherwise than the run before it."""

    at: int
    started_utc: str
    scores: tuple[float | None, float | None]
    along: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A series, and what is to be said of it."""

    series: Series
    times: tuple[TimeChange, ...]
    answers: tuple[AnswerChange, ...]
    level_from: int | None  # the first run that is level with the newest; None: none is timed
    noise: float | None  # deviation of the p90 of one run, as a share; None: too few runs

    @property
    def standing_out(self) -> TimeChange | None:
        """The largest change of time."""
        return max(self.times, key=lambda one: abs(np.log1p(one.share)), default=None)

    @property
    def p90_now_ms(self) -> float | None:
        """Mean of the runs that are level with the newest."""
        if self.level_from is None:
            return None
        level = [
            self.series.runs[i].p90_ms or 0.0 for i in self.series.timed if i >= self.level_from
        ]
        return _mean(level)

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "bundle": self.series.bundle,
            "artifact": self.series.artifact,
            "machine": self.series.machine,
            "threads": self.series.threads,
            "scenario": self.series.scenario,
            "measure": self.series.measure,
            "emulated": self.series.is_emulated,
            "p90_now_ms": self.p90_now_ms,
            "noise": self.noise,
            "level_from": self.level_from,
            "changes_of_time": [asdict(one) for one in self.times],
            "changes_of_answers": [asdict(one) for one in self.answers],
            "runs": [{**asdict(run), "software": dict(run.software)} for run in self.series.runs],
        }


def tell(series: Series) -> Story:
    """Find what changed in a series."""
    timed, logs = series.timed, series.times_ms
    found = find_changes(logs) if logs else ()
    edges = [0, *(one.at for one in found), len(timed)]
    times = []
    for number, one in enumerate(found, start=1):
        before = logs[edges[number - 1] : edges[number]]
        behind = logs[edges[number] : edges[number + 1]]
        at = timed[one.at]
        times.append(
            TimeChange(
                at=at,
                started_utc=series.runs[at].started_utc,
                share=_mean(behind) / _mean(before) - 1,
                before_ms=_mean(before),
                behind_ms=_mean(behind),
                chance=one.chance,
                along=_along(series.runs[timed[one.at - 1]], series.runs[at]),
            )
        )
    level = logs[edges[-2] :]
    return Story(
        series=series,
        times=tuple(times),
        answers=_answers(series),
        level_from=timed[edges[-2]] if timed else None,
        noise=float(np.log(level).std(ddof=1)) if len(level) >= LEAST_RUNS else None,
    )


def _answers(series: Series) -> tuple[AnswerChange, ...]:
    changes = []
    for at in range(1, len(series.runs)):
        before, run = series.runs[at - 1], series.runs[at]
        if before.samples == run.samples and before.outputs != run.outputs:
            scores = before.score, run.score
            changes.append(AnswerChange(at, run.started_utc, scores, _along(before, run)))
    return tuple(changes)


def _along(before: Run, behind: Run) -> tuple[str, ...]:
    """What is another in the later run."""
    old = dict(before.software)
    return tuple(
        f"{name} {old.get(name, 'unknown')} → {value}"
        for name, value in behind.software
        if old.get(name, "unknown") != value
    )


def _mean(times: Sequence[float]) -> float:
    """Of times in ms; of their logarithms, so that 5 % more and 5 % less cancel out."""
    return float(np.exp(np.log(np.asarray(times)).mean()))


@dataclass(frozen=True)
class History:
    """All series of some folders; ``passed_over``: files that are no reports, and why."""

    stories: tuple[Story, ...]
    passed_over: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "series": [story.to_json() for story in self.stories],
            "passed_over": list(self.passed_over),
        }


def read_history(paths: Sequence[Path]) -> History:
    """Reports, and folders of them -> what became of each artifact on each machine.

    Raises:
        InputError: a file that was named cannot be read, or there is no report.
    """
    reports, passed_over = read_all(paths)
    return History(tuple(tell(series) for series in gather(reports).values()), passed_over)
