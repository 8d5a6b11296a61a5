"""Many reports against the ones that they must not fall behind: a gate for CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, read_report
from edgeticket.pipeline.compare.gate_table import print_gate
from edgeticket.pipeline.compare.limits import Limits
from edgeticket.pipeline.compare.own_metric import OwnMetric
from edgeticket.pipeline.compare.pair import compare
from edgeticket.pipeline.compare.result import Comparison, tell_ms, tell_times


@dataclass(frozen=True)
class Case:
    """One report that was judged; either ``comparison`` or ``problem`` is there."""

    path: str
    artifact: str  # its id, or the file's name where it cannot be read
    comparison: Comparison | None
    problem: str | None  # why it could not be compared

    @property
    def outcome(self) -> str:
        """ok, limit broken, not comparable."""
        if self.comparison is None:
            return "not comparable"
        return "limit broken" if self.comparison.broken_limits else "ok"

    @property
    def wrongs(self) -> tuple[str, ...]:
        """Sentences that say what is wrong with it; none if nothing is."""
        if self.comparison is None:
            return (self.problem or "",)
        return self.comparison.broken_limits

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that say what else differs, though it breaks no limit."""
        return () if self.comparison is None else self.comparison.notes


@dataclass(frozen=True)
class Gate:
    """All cases of one call."""

    cases: tuple[Case, ...]

    @property
    def exit_code(self) -> int:
        """0: every case keeps its limits; 1: one breaks one; 2: one could not be compared."""
        outcomes = {case.outcome for case in self.cases}
        if "not comparable" in outcomes:
            return 2
        return 1 if "limit broken" in outcomes else 0

    def to_json(self) -> list[dict[str, object]]:
        """One object for each case."""
        return [
            {
                "path": case.path,
                "artifact": case.artifact,
                "outcome": case.outcome,
                "problem": case.problem,
                "comparison": None if case.comparison is None else case.comparison.to_json(),
            }
            for case in self.cases
        ]

    def print(self, console: Console) -> None:
        """The cases of one kind and machine together, a line each, then what is wrong with them."""
        print_gate(self, console)


def run_gate(
    before: Path, after: Sequence[Path], *, limits: Limits, metric: OwnMetric | None = None
) -> Gate:
    """Compare every report of ``after`` with the one of ``before`` that it belongs to.

    Args:
        before: a report, which all are compared with; or a folder of them, where each report is
            compared with the one of the same artifact, threads and scenario.
        after: reports, and folders of them.
        limits: what each must keep to.
        metric: a function of the user's, which judges outputs beside the reports; None: none.

    Raises:
        InputError: ``before`` cannot be read, or there is nothing to judge.
    """
    bases = [(path, read_report(path)) for path in _files(before)]
    own = {path.resolve() for path, _ in bases} if len(bases) == 1 else set()
    given = [file for path in after for file in _files(path)]
    # A folder may hold the report that all others are compared with.
    judged = [file for file in given if file in after or file.resolve() not in own]
    if not judged:
        raise InputError(f"there is no report to compare with {before}")
    return Gate(tuple(_judge(file, bases, before, limits, metric) for file in judged))


def _judge(
    file: Path,
    bases: Sequence[tuple[Path, Report]],
    before: Path,
    limits: Limits,
    metric: OwnMetric | None,
) -> Case:
    name = file.name
    try:
        report = read_report(file)
        name = report.artifact.id
        place, base = _base(report, bases, before)
        comparison = compare(base, report, limits=limits)
        if metric is not None:
            comparison = metric.add(comparison, (place, base), (file, report))
    except InputError as error:
        return Case(str(file), name, None, str(error))
    return Case(str(file), name, comparison, None)


def _base(
    report: Report, bases: Sequence[tuple[Path, Report]], before: Path
) -> tuple[Path, Report]:
    if len(bases) == 1:
        return bases[0]
    fitting = [
        (path, base)
        for path, base in bases
        if (base.artifact.id, base.runtime.threads, base.latency.scenario)
        == (report.artifact.id, report.runtime.threads, report.latency.scenario)
    ]
    if len(fitting) != 1:
        raise InputError(
            f"{len(fitting) or 'none'} of the {len(bases)} reports in {before} are of "
            f"{report.artifact.id} with {report.runtime.threads} threads, "
            f"{report.latency.scenario}: name one file to compare with"
        )
    return fitting[0]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("*.json"))
    if not found:
        raise InputError(f"{path} holds no report (*.json)")
    return found


def tell_case(case: Case) -> tuple[str, ...]:
    """The cells of a case's line, as in ``HEADINGS``."""
    found = case.comparison
    if found is None:
        return (case.artifact, "", "", "", "", "", "", "", case.outcome)
    return (
        case.artifact,
        found.after.partition(" on ")[2],
        found.kind,
        " → ".join(map(tell_ms, found.p50_ms)),
        tell_times(found.speedup_p50),
        found.told_score,
        found.told_agreement,
        found.verdicts[1],
        case.outcome,
    )


HEADINGS = (
    *("artifact", "machine", "kind", "p50 ms", "faster", "score (points)", "agree"),
    *("validity", "outcome"),
)
TEXTS = ("artifact", "machine", "kind", "validity", "outcome")
