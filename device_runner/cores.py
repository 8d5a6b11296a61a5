"""Keep a measurement on chosen CPU cores."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator

from edgeticket.device_runner.errors import InputError


def parse_cores(text: str) -> tuple[int, ...]:
    """``"2-3"`` or ``"0,2-3"`` -> (2, 3) or (0, 2, 3), as taskset writes them.

    Raises:
        InputError: anything else.
    """
    cores: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise InputError(f"{text!r} names no CPU cores: write them like 2-3 or 0,2")
        cores.update(range(first, last + 1))
    return tuple(sorted(cores))


@contextlib.contextmanager
def pinned(cores: Collection[int] | None) -> Iterator[tuple[int, ...]]:
    """Run the block, its threads and its child processes on ``cores`` alone; None: on all.

    Gives the cores that may be used. Threads that exist already stay where they are.

    Raises:
        InputError: this machine lacks one of them, or this process may not use it.
    """
    allowed = os.sched_getaffinity(0)
    if cores is None:
        yield tuple(sorted(allowed))
        return
    missing = sorted(set(cores) - allowed)
    if missing:
        raise InputError(
            f"core {missing[0]} cannot be used here: this process may use "
            f"{', '.join(map(str, sorted(allowed)))}"
        )
    os.sched_setaffinity(0, cores)
    try:
        yield tuple(sorted(cores))
    finally:
        os.sched_setaffinity(0, allowed)
