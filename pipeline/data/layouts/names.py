"""Names of classes in the order of their numbers, from a file with one a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular_text
from edgeticket.pipeline.data.layouts.paths import first_twice, shown

MOST_BYTES = 2**24
MOST_NAMES = 100_000


def read_names(file: Path, *, place: str = "data.classes") -> tuple[str, ...]:
    """A file with the name of a class in each line -> the names.

    Raises:
        InputError: it cannot be read, or names none, or one twice.
    """
    text = read_regular_text(file, kind=place, limit_bytes=MOST_BYTES)
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return check_names(lines, place=f"{place}: {file}")


def check_names(names: Sequence[str], *, place: str) -> tuple[str, ...]:
    """
    Raises:
        InputError: there are none, or too many, or one is empty or there twice.
    """
    if not 0 < len(names) <= MOST_NAMES:
        raise InputError(
            f"{place} names {len(names):,} classes: 1 to {MOST_NAMES:,} are possible, one in each "
            "line"
        )
    empty = next((number for number, name in enumerate(names) if not name), None)
    if empty is not None:
        raise InputError(f"{place}: name {empty} is empty: each class has a name of its own")
    twice = first_twice(names)
    if twice is not None:
        raise InputError(f"{place} names {shown(twice)!r} twice: each class has a name of its own")
    return tuple(names)
