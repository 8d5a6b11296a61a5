"""One answer at the top of a page, and how artifacts are named in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sources import Measured

GOOD, BAD, OPEN = "good", "bad", "open"
SHOWN = 3  # lines of one answer that are not folded away


@dataclass(frozen=True)
class Statement:
    """One answer: ``mark`` is GOOD, BAD or OPEN, which is also said in words. ``more`` is folded
    away."""

    question: str
    mark: str
    answer: str
    details: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    more_title: str = "More"


def who(ones: Sequence[Measured], measured: Sequence[Measured]) -> str:
    """Artifacts in few words: one by its name, several by their machine and their rows."""
    if len(ones) == 1:
        return ones[0].title if len({one.place for one in measured}) > 1 else ones[0].name
    places = list(dict.fromkeys(one.place for one in ones))
    numbers = words.numbers([one.number for one in ones])
    if len({one.place for one in measured}) == 1:
        return numbers
    if len(ones) == sum(one.place in places for one in measured):
        return f"all on {words.listed(places)}"
    return f"{numbers} on {words.listed(places)}"
