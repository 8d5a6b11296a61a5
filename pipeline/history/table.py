"""A history for people: a line for each series, then what stands out."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edgeticket.pipeline.history.series import Change, History, Series
from edgeticket.pipeline.text import plain


def print_history(history: History, console: Console) -> None:
    """Print it."""
    table = Table("series", "runs", "VALID", "p90 ms, first → last", "score, first → last")
    for series in history.series:
        table.add_row(*row(series))
    console.print(table)
    for series in history.series:
        for change in series.changes:
            console.print(plain(tell_change(series, change)), soft_wrap=True)
    for reason in history.passed_over:
        console.print(plain(f"passed over: {reason}"), soft_wrap=True)


def row(series: Series) -> tuple[str, ...]:
    """A series in a line."""
    return (
        plain(series.title),
        str(len(series.runs)),
        str(sum(run.valid for run in series.runs)),
        _ends(series, "p90_ms"),
        f"{series.measure} {_ends(series, 'score')}",
    )


def tell_change(series: Series, change: Change) -> str:
    """What stands out, in a sentence."""
    run = series.runs[change.at]
    moved = f"{change.before:.4g} → {change.after:.4g}"
    also = ", ".join(change.coincided) or "nothing else changed that reports know"
    return f"{series.title}: {change.quantity} {moved} from {run.started_utc} on; {also}"


def _ends(series: Series, name: str) -> str:
    values = [v for run in series.runs if isinstance(v := getattr(run, name), int | float)]
    return f"{values[0]:.4g} → {values[-1]:.4g}" if values else "–"
