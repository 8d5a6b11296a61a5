"""What a person sees: one line of progress, tables, values in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Callable

from edgeticket.device_runner.plain_text import clean_line, plain
from edgeticket.device_runner.unavailable import Unavailable

if TYPE_CHECKING:  # they import numpy, which --help does without
    from edgeticket.device_runner.report import Report
    from edgeticket.device_runner.validity import Validity


class ProgressLine:
    """One line on standard error that is rewritten on a terminal, and not repeated elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def show(self, what: str, share: float) -> None:
        """Say what is being done, and how much of it, 0..1."""
        what = clean_line(what)
        if self._terminal:
            if self._last not in ("", what):
                sys.stderr.write("\n")
            sys.stderr.write(f"\r\x1b[K{what} {share:4.0%}")
            sys.stderr.flush()
        elif what != self._last:
            print(what, file=sys.stderr)
        self._last = what

    def end(self) -> None:
        """Leave the line."""
        if self._terminal and self._last:
            sys.stderr.write("\n")


def report_table(reports: Sequence[Report]) -> str:
    """One row per report; what is unavailable is a dash."""
    times = ("p50 ms", "p90 ms", "p99 ms", "queries")
    headings = ["artifact", *times, reports[0].accuracy.measure, "load ms", "peak MB", "by", ""]
    rows = [_row(report) for report in reports]
    extra = [name for name, tell in EXTRA.items() if any(tell(report) for report in reports)]
    rows = [
        [*row[:-2], *(EXTRA[name](r) for name in extra), *row[-2:]] for row, r in zip(rows, reports)
    ]
    return table([[*headings[:-2], *extra, *headings[-2:]], *rows])


def sustained_lines(reports: Sequence[Report]) -> list[str]:
    """A table of minutes for each artifact under sustained load, and what it came to."""
    lines: list[str] = []
    for report in reports:
        sustained = report.sustained
        if isinstance(sustained, Unavailable):
            continue
        rows = [["minute", "p50 ms", "p90 ms", "mean ms", "MHz", "°C", ""]]
        for number, minute in enumerate(sustained.minutes, 1):
            throttles = number == sustained.throttled_minute
            rows.append(
                [
                    str(number),
                    _scaled(minute.p50_ns, 1e-6, 3),
                    _scaled(minute.p90_ns, 1e-6, 3),
                    _scaled(minute.mean_ns, 1e-6, 3),
                    _highest(minute.clock_hz, 1e-6, 0),
                    _highest(minute.temperature_c, 1, 1),
                    f"throttles: {sustained.throttled_by}" if throttles else "",
                ]
            )
        steady = sustained.steady_p90_ns
        last = (
            f"no steady state: {steady.reason}"
            if isinstance(steady, Unavailable)
            else f"steady p90 {steady / 1e6:.3f} ms"
        )
        lines += ["", plain(f"{report.artifact.id}: {last}"), table(rows)]
    return lines


def _highest(values: Mapping[str, float] | Unavailable, factor: float, digits: int) -> str:
    if isinstance(values, Unavailable) or not values:
        return "-"
    return f"{max(values.values()) * factor:.{digits}f}"


def validity_lines(reports: Sequence[Report]) -> list[str]:
    """Reasons and warnings, each sentence once, with the artifacts that it is about."""
    about: dict[str, list[str]] = {}
    for report in reports:
        for line in finding_lines(report.validity):
            about.setdefault(line, []).append(report.artifact.id)
    return [
        line if len(names) == len(reports) else f"{', '.join(dict.fromkeys(names))}: {line}"
        for line, names in about.items()
    ]


def placement_lines(reports: Sequence[Report]) -> list[str]:
    """Where the operators of each artifact ran, where more than the CPU was asked."""
    return [
        plain(f"{report.artifact.id} ran on {report.placement.words}")
        for report in reports
        if not isinstance(report.placement, Unavailable) and len(report.placement.operators) > 1
    ]


def finding_lines(validity: Validity) -> list[str]:
    """One line for each reason and each warning."""
    lines = [
        *(f"INVALID ({finding.rule}): {finding.sentence()}" for finding in validity.reasons),
        *(f"warning ({finding.rule}): {finding.sentence()}" for finding in validity.warnings),
    ]
    return list(map(plain, lines))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells -> lines with aligned columns."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in shown)
    return "\n".join(line.rstrip() for line in lines)


def words(value: object) -> str:
    """A value, JSON or not -> text for a person."""
    if isinstance(value, Unavailable):
        return f"- ({value.reason})"
    if isinstance(value, dict):
        if set(value) == {"unavailable"}:
            return f"- ({value['unavailable']})"
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(words, value)) or "none"
    return str(value)


def _row(report: Report) -> list[str]:
    from edgeticket.device_runner.report import tell_score

    latency, cold = report.latency, report.cold
    return [
        report.artifact.id,
        _scaled(latency.p50_ns, 1e-6, 3),
        _scaled(latency.p90_ns, 1e-6, 3),
        _scaled(latency.p99_ns, 1e-6, 3),
        str(latency.queries),
        tell_score(report),
        _scaled(cold.load_ns, 1e-6, 1),
        _scaled(cold.peak_rss_bytes, 1e-6, 1),
        f"{report.runtime.package} {words(report.runtime.version)}",
        report.validity.verdict,
    ]


def _threads(report: Report) -> str:
    return str(report.runtime.threads) if report.runtime.threads > 1 else ""


def _per_second(report: Report) -> str:
    if report.latency.scenario == "SingleStream":
        return ""
    return f"{report.throughput.per_s:.1f}"


def _batch(report: Report) -> str:
    return str(report.throughput.batch) if report.latency.scenario == "Offline" else ""


def _missed(report: Report) -> str:
    deadlines = report.deadlines
    return "" if isinstance(deadlines, Unavailable) else f"{deadlines.missed_share:.1%}"


def _energy(report: Report) -> str:
    energy = report.energy
    if isinstance(energy, Unavailable) or not energy.sources:
        return ""
    return f"{energy.sources[0].per_inference_j * 1e3:.3f}"


def _real_time(report: Report) -> str:
    real_time = report.real_time
    return "" if isinstance(real_time, Unavailable) else _scaled(real_time.factor, 1, 4)


def _agree(report: Report) -> str:
    """Of other tasks than classes, whose answers are not in the report."""
    if not hasattr(report.accuracy, "headline") or isinstance(report.fidelity, Unavailable):
        return ""
    agreement = report.fidelity.agreement(report.artifact.network)
    return "" if isinstance(agreement, Unavailable) else f"{agreement:.2%}"


def _characters(report: Report) -> str:
    cer = getattr(report.accuracy, "cer", None)
    return "" if cer is None else f"{cer:.2%}"


EXTRA: Mapping[str, Callable[[Report], str]] = {  # columns that are shown where one has an entry
    "CER": _characters,
    "agree": _agree,
    "real time": _real_time,
    "threads": _threads,
    "batch": _batch,
    "per s": _per_second,
    "missed": _missed,
    "mJ": _energy,
}


def _scaled(value: float | Unavailable, factor: float, digits: int) -> str:
    return "-" if isinstance(value, Unavailable) else f"{value * factor:.{digits}f}"
