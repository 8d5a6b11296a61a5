"""Cases of `edgeticket compare`, as rows."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.pipeline.compare.gate import HEADINGS, Case, tell_case
from edgeticket.pipeline.page.sources import Sources

__all__ = ["HEADINGS", "Row", "tell_comparisons"]


@dataclass(frozen=True)
class Row:
    """One report against another."""

    cells: tuple[str, ...]
    is_bad: bool
    wrongs: tuple[str, ...]
    notes: tuple[str, ...]


def tell_comparisons(sources: Sources) -> tuple[Row, ...]:
    """None, unless the page is one of a comparison."""
    return tuple(map(_row, sources.comparisons))


def _row(case: Case) -> Row:
    return Row(tell_case(case), case.outcome != "ok", case.wrongs, case.notes)
