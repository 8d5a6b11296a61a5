"""A page of reports over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeticket.pipeline.history.story import Story
from edgeticket.pipeline.history.table import HEADINGS, cells, lines
from edgeticket.pipeline.output_folder import write_output
from edgeticket.pipeline.page.charts.drawing import Chart
from edgeticket.pipeline.page.charts.history import draw_history
from edgeticket.pipeline.page.file import is_page
from edgeticket.pipeline.page.render import fill

NEWEST = 40  # runs of a series that are listed


@dataclass(frozen=True)
class Row:
    """One run in the table of its series."""

    started: str
    verdict: str
    p50: str
    p90: str
    score: str
    outputs: str
    software: str


@dataclass(frozen=True)
class Part:
    """One series."""

    title: str
    chart: Chart | None
    lines: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int


def render_history(stories: Sequence[Story], passed_over: Sequence[str]) -> bytes:
    """The page as UTF-8."""
    return fill(
        "history.html",
        {
            "headings": HEADINGS,
            "table": [cells(story) for story in stories],
            "parts": [_part(story, f"series-{i}") for i, story in enumerate(stories)],
            "passed_over": passed_over,
        },
    )


def write_history(stories: Sequence[Story], passed_over: Sequence[str], file: Path) -> None:
    """Write the page; an older page gives way.

    Raises:
        InputError: another file is there, or it cannot be written.
    """
    write_output(file, render_history(stories, passed_over), ours=is_page)


def _part(story: Story, name: str) -> Part:
    runs = story.series.runs
    is_drawn = len(runs) > 1 and any(run.p90_ms is not None for run in runs)
    rows = []
    for i in reversed(range(max(0, len(runs) - NEWEST), len(runs))):
        run, before = runs[i], runs[i - 1] if i else None
        old = {} if before is None else dict(before.software)
        changed = [f"{key} {value}" for key, value in run.software if old.get(key) != value]
        rows.append(
            Row(
                started=run.started_utc,
                verdict="VALID" if run.is_valid else "INVALID",
                p50=_number(run.p50_ms),
                p90=_number(run.p90_ms),
                score=_number(run.score),
                outputs=run.outputs[:12],
                software=", ".join(changed) or "as before",
            )
        )
    return Part(
        title=story.series.title,
        chart=draw_history(story, name=name) if is_drawn else None,
        lines=tuple(lines(story)),
        rows=tuple(rows),
        left_out=len(runs) - len(rows),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
