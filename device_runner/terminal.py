"""What a person sees: one line of progress, tables, values in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_runner.unavailable import Unavailable

if TYPE_CHECKING:  # it imports numpy, which --help does without
    from device_runner.report import Report


class ProgressLine:
    """One line on standard error that is rewritten on a terminal, and not repeated elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def show(self, what: str, share: float) -> None:
        """Say what is being done, and how much of it, 0..1."""
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
    headings = ("artifact", *times, "top-1", "load ms", "peak MB", "by")
    return table([headings, *map(_row, reports)])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells -> lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)
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


def _row(report: Report) -> tuple[str, ...]:
    latency, cold = report.latency, report.cold
    return (
        report.artifact.id,
        _scaled(latency.p50_ns, 1e-6, 3),
        _scaled(latency.p90_ns, 1e-6, 3),
        _scaled(latency.p99_ns, 1e-6, 3),
        str(latency.queries),
        f"{report.accuracy.top1:.2%}",
        _scaled(cold.load_ns, 1e-6, 1),
        _scaled(cold.peak_rss_bytes, 1e-6, 1),
        f"{report.runtime.package} {words(report.runtime.version)}",
    )


def _scaled(value: int | Unavailable, factor: float, digits: int) -> str:
    return "-" if isinstance(value, Unavailable) else f"{value * factor:.{digits}f}"
