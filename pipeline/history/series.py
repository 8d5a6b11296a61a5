"""Reports of one artifact on one board, in the order in which they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.report import Report, Unlabelled, read_report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.compare.machines import key_of, name_of
from edgeticket.pipeline.compare.report_files import json_files


@dataclass(frozen=True)
class Run:
    """What history needs of one report; None: the report has no such number."""

    file: str
    started_utc: str
    session: str
    is_valid: bool
    p50_ms: float | None
    p90_ms: float | None
    score: float | None  # a share, or the unit of the measure
    samples: str  # digests
    outputs: str
    software: tuple[tuple[str, str], ...]  # what may change between runs: name, value


@dataclass(frozen=True)
class Series:
    """All runs of one artifact on one board, with as many threads and in one scenario; the oldest
    first. Names are plain text."""

    bundle: str
    artifact: str
    machine: str
    threads: int
    scenario: str
    measure: str  # of the score
    is_emulated: bool
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """Artifact and machine."""
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.artifact} on {self.machine}{threads}"

    @property
    def timed(self) -> tuple[int, ...]:
        """The numbers of the runs whose times are to be believed."""
        if self.is_emulated:
            return ()
        return tuple(i for i, run in enumerate(self.runs) if run.is_valid and run.p90_ms)

    @property
    def times_ms(self) -> tuple[float, ...]:
        """p90 of the runs in `timed`."""
        return tuple(self.runs[i].p90_ms or 0.0 for i in self.timed)


Key = tuple[object, ...]


def key_of_series(report: Report) -> Key:
    """What reports of one series have in common. Files of an artifact may change: that is what a
    history is for."""
    return (
        *(report.bundle.name, report.artifact.id, report.runtime.threads),
        *(report.latency.scenario, report.runtime.withheld, key_of(report)),
    )


def read_all(paths: Sequence[Path]) -> tuple[list[tuple[Path, Report]], tuple[str, ...]]:
    """Reports, and folders of them -> reports with their files; and what else lay there.

    Raises:
        InputError: a file that was named cannot be read, or there is no report at all.
    """
    found, passed_over = [], []
    for path in paths:
        for file in json_files(path) if path.is_dir() else [path]:
            try:
                found.append((file, read_report(file)))
            except InputError as error:
                if file == path:
                    raise
                passed_over.append(plain(str(error)))
    if not found:
        why = f" ({passed_over[0]})" if passed_over else ""
        raise InputError(
            f"there is no report in {', '.join(map(str, paths))}{why}: "
            "give folders of what `bench` wrote"
        )
    return found, tuple(passed_over)


def gather(reports: Iterable[tuple[Path, Report]]) -> dict[Key, Series]:
    """Reports with their files -> series, in the order of their first runs.

    Of copies of a report one counts.
    """
    of: dict[Key, dict[tuple[str, str], tuple[Path, Report]]] = {}
    for file, report in reports:
        again = (report.session.id, report.session.started_utc)
        of.setdefault(key_of_series(report), {}).setdefault(again, (file, report))
    series = {key: _series(list(ones.values())) for key, ones in of.items()}
    return dict(sorted(series.items(), key=lambda item: item[1].runs[0].started_utc))


def _series(reports: Sequence[tuple[Path, Report]]) -> Series:
    ordered = sorted(reports, key=lambda one: (one[1].session.started_utc, str(one[0])))
    newest = ordered[-1][1]
    return Series(
        bundle=plain(newest.bundle.name),
        artifact=plain(newest.artifact.id),
        machine=plain(name_of(newest)),
        threads=newest.runtime.threads,
        scenario=newest.latency.scenario,
        measure=newest.accuracy.measure,
        is_emulated=isinstance(newest.machine.emulated, str),
        runs=tuple(_run(file, report) for file, report in ordered),
    )


def _run(file: Path, report: Report) -> Run:
    latency, machine = report.latency, report.machine
    score: float | Unavailable | None
    if isinstance(report.accuracy, Unlabelled):
        known = not isinstance(report.fidelity, Unavailable)
        score = report.fidelity.worst.sqnr_db if known else None  # type: ignore[union-attr]
    else:
        score = report.accuracy.score
    software = {
        f"{report.runtime.package}": report.runtime.version,
        "the artifact": report.artifact.sha256[:12],
        "kernel": machine.kernel,
        "system": machine.os,
        "edgeticket": report.versions.get("device_runner", "unknown"),
        "Python": report.versions.get("python", "unknown"),
        "numpy": report.versions.get("numpy", "unknown"),
    }
    return Run(
        file=str(file),
        started_utc=report.session.started_utc,
        session=report.session.id,
        is_valid=report.validity.verdict == VALID,
        p50_ms=_ms(latency.p50_ns),
        p90_ms=_ms(latency.p90_ns),
        score=score if isinstance(score, float) else None,
        samples=report.accuracy.samples_sha256,
        outputs=report.accuracy.outputs_sha256,
        software=tuple(
            (name, "unknown" if isinstance(value, Unavailable) else plain(str(value)))
            for name, value in software.items()
        ),
    )


def _ms(nanoseconds: float | Unavailable) -> float | None:
    return None if isinstance(nanoseconds, Unavailable) else nanoseconds / 1e6
