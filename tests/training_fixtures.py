"""What tests that train share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.progress import Advance


class StopAfter:
    """A progress that interrupts the program, as Ctrl-C would, after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Advance]:
        def advance(steps: float, note: str) -> None:
            self.left -= int(steps)
            if self.left <= 0:
                raise KeyboardInterrupt

        yield advance

    def say(self, line: str) -> None:
        return None
