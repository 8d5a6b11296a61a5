"""A history as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from edgeticket.pipeline.history.story import Story, TimeChange
from edgeticket.pipeline.text import plain

HEADINGS = ("artifact", "machine", "runs", "since", "p90 ms", "± of a run", "score", "stands out")


def print_history(stories: Sequence[Story], passed_over: Sequence[str], console: Console) -> None:
    """One line a series; below it what changed, and what of the files was no report."""
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for story in stories:
        table.add_row(*(plain(cell) for cell in cells(story)))
    console.print(table, markup=False, highlight=False)
    for story in stories:
        for line in lines(story):
            console.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    if passed_over:
        console.print(
            plain(f"{len(passed_over)} other files were passed over, the first: {passed_over[0]}"),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def cells(story: Story) -> tuple[str, ...]:
    """As in `HEADINGS`."""
    series, largest = story.series, story.standing_out
    timed = f"{len(series.timed)} of {len(series.runs)} VALID"
    return (
        series.artifact,
        series.machine + f", {series.threads} threads" * (series.threads > 1),
        "emulated" if series.is_emulated else timed,
        series.runs[0].started_utc[:10],
        "" if story.p90_now_ms is None else f"{story.p90_now_ms:.4g}",
        "" if story.noise is None else f"{story.noise:.1%}",
        _score(series.measure, series.runs[-1].score),
        "" if largest is None else f"{largest.share:+.1%} on {largest.started_utc[:10]}",
    )


def lines(story: Story) -> list[str]:
    """A sentence for each change."""
    title = story.series.title
    told = [f"{title}: {tell_time(one)}" for one in story.times]
    for one in story.answers:
        old, new = (_score(story.series.measure, score) for score in one.scores)
        score = f"{story.series.measure} {old} → {new}" if old != new else f"{new} as before"
        told.append(
            f"{title}: other answers from {one.started_utc} on, {score}; {_along(one.along)}"
        )
    return told


def tell_time(one: TimeChange) -> str:
    """What a change of time was, and what changed along."""
    return (
        f"p90 {one.before_ms:.4g} → {one.behind_ms:.4g} ms ({one.share:+.1%}) from "
        f"{one.started_utc} on; {_along(one.along)}"
    )


def _along(along: Sequence[str]) -> str:
    return f"along with it: {', '.join(along)}" if along else "no version that is known changed"


def _score(measure: str, score: float | None) -> str:
    if score is None:
        return ""
    return f"{score:.2f} dB" if measure == "SQNR" else f"{score:.4g}"
