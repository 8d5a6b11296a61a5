"""Pages of the same make for what is no single run: parts with a text, charts and a table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.pipeline.page.charts.drawing import Chart
from edgeticket.pipeline.page.render import fill
from edgeticket.pipeline.page.sections.verdict.statement import Statement


@dataclass(frozen=True)
class Table:
    """Rows of texts; ``numeric``: columns of numbers, from 0; ``featured``: the bold row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    featured: int | None = None


@dataclass(frozen=True)
class Part:
    """A heading and what stands below it, in this order; ``words``: what terms mean."""

    title: str
    lines: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    table: Table | None = None
    words: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def render_listing(
    parts: Sequence[Part],
    *,
    title: str,
    eyebrow: str,
    lead: str,
    statements: Sequence[Statement] = (),
) -> bytes:
    """The page as UTF-8: answers first, then the parts."""
    return fill(
        "listing.html",
        {
            "title": title,
            "eyebrow": eyebrow,
            "lead": lead,
            "statements": tuple(statements),
            "parts": tuple(parts),
        },
    )
