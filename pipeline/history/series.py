"""Reports in the order in which they were made, by artifact and board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, Unlabelled, read_report
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.history.noise import find_change

Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Run:
    """One report. score: by the measure of its task. runtime: package and version."""

    path: str
    started_utc: str
    session: str
    runtime: str
    sha256: str  # of the artifact's file
    outputs_sha256: str
    valid: bool
    score: float | Unavailable
    p90_ms: float | Unavailable


@dataclass(frozen=True)
class Change:
    """What stands out in a series: from ``at`` on the mean is another; coincided: what else became
    another with that run."""

    at: int
    quantity: str
    before: float
    after: float
    coincided: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """One artifact on one board, oldest run first."""

    bundle: str
    artifact: str
    board: str
    threads: int
    scenario: str
    measure: str
    lower_is_better: bool
    runs: tuple[Run, ...]

    @property
    def key(self) -> Key:
        return self.bundle, self.artifact, self.board, self.threads, self.scenario

    @property
    def title(self) -> str:
        return f"{self.artifact} on {self.board}, {self.scenario}, threads: {self.threads}"

    @property
    def changes(self) -> tuple[Change, ...]:
        """For p90 and score, the change that stands out most; none where chance explains all.

        INVALID runs are shown, and not judged.
        """
        found = []
        for quantity, name in (("p90 ms", "p90_ms"), (self.measure, "score")):
            judged = [
                (i, float(value))
                for i, run in enumerate(self.runs)
                if run.valid and isinstance(value := getattr(run, name), int | float)
            ]
            values = [value for _, value in judged]
            logs = [math.log(v) for v in values] if name == "p90_ms" else values
            at = find_change(logs)
            if at is None:
                continue
            i, j = judged[at - 1][0], judged[at][0]
            before, after = (sum(part) / len(part) for part in (values[:at], values[at:]))
            coincided = _coincided(self.runs[i], self.runs[j])
            found.append(Change(j, quantity, before, after, coincided))
        return tuple(found)


@dataclass(frozen=True)
class History:
    """All series. passed_over: files that are no reports, and why."""

    series: tuple[Series, ...]
    passed_over: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with what stands out in each series."""
        return {
            "series": [to_json(s) | {"changes": to_json(s.changes)} for s in self.series],
            "passed_over": list(self.passed_over),
        }


def gather(paths: Sequence[Path]) -> History:
    """Read reports and folders of them.

    Raises:
        InputError: there is none.
    """
    read: list[tuple[Path, Report]] = []
    passed_over = []
    for path in paths:
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            try:
                read.append((file, read_report(file)))
            except InputError as error:
                passed_over.append(str(error))
    if not read:
        raise InputError(
            f"there is no report in {', '.join(map(str, paths))}"
            + (f": {passed_over[0]}" if passed_over else "")
        )
    return History(series_of(read), tuple(passed_over))


def series_of(reports: Sequence[tuple[Path, Report]]) -> tuple[Series, ...]:
    """Reports by artifact, board, threads and scenario, in order of time; copies count once."""
    grouped: dict[Key, list[tuple[Path, Report]]] = {}
    for path, report in sorted(reports, key=lambda each: each[1].session.started_utc):
        group = grouped.setdefault(_key(report), [])
        if all(other.session.id != report.session.id for _, other in group):
            group.append((path, report))
    return tuple(
        Series(
            *key,
            group[0][1].accuracy.measure,
            group[0][1].accuracy.lower_is_better,
            tuple(run_of(path, report) for path, report in group),
        )
        for key, group in sorted(grouped.items())
    )


def run_of(path: Path, report: Report) -> Run:
    """What a history keeps of a report; times of an emulated board say nothing."""
    p90, emulated = report.latency.p90_ns, report.machine.emulated
    score: float | Unavailable
    if isinstance(report.accuracy, Unlabelled):
        fidelity = report.fidelity
        sqnr = fidelity if isinstance(fidelity, Unavailable) else fidelity.worst.sqnr_db
        score = sqnr if isinstance(sqnr, int | float) else Unavailable("outputs are equal")
    else:
        score = report.accuracy.score
    return Run(
        path=str(path),
        started_utc=report.session.started_utc,
        session=report.session.id,
        runtime=f"{report.runtime.package} {report.runtime.version}",
        sha256=report.artifact.sha256,
        outputs_sha256=report.accuracy.outputs_sha256,
        valid=report.validity.verdict == VALID,
        score=score,
        p90_ms=Unavailable("emulated")
        if isinstance(emulated, str)
        else p90
        if isinstance(p90, Unavailable)
        else p90 / 1e6,
    )


def _key(report: Report) -> Key:
    names = report.machine.board, report.machine.cpu, report.machine.architecture
    board = next(name for name in names if isinstance(name, str))
    scenario = report.latency.scenario
    return report.bundle.name, report.artifact.id, board, report.runtime.threads, scenario


def _coincided(before: Run, after: Run) -> tuple[str, ...]:
    told = []
    if before.runtime != after.runtime:
        told.append(f"{before.runtime} → {after.runtime}")
    if before.sha256 != after.sha256:
        told.append("another file of the artifact")
    if before.outputs_sha256 != after.outputs_sha256:
        told.append("other outputs")
    return tuple(told)
