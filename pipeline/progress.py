"""Progress of long work: bars on a terminal, silence elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

Advance = Callable[[float, str], None]
"""``advance(steps, note)``: move the bar and replace the note at its end ("" keeps it)."""


class Progress(Protocol):
    """What long-running stages need to report how far they are."""

    def task(self, title: str, total: float) -> AbstractContextManager[Advance]:
        """A bar of ``total`` steps for the time of the ``with`` block."""

    def say(self, line: str) -> None:
        """One line that stays on the screen."""


class Quiet:
    """No output at all: tests, and programs that import the pipeline."""

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Advance]:
        yield lambda steps, note: None

    def say(self, line: str) -> None:
        return None


class Bars:
    """Bars with time left on a terminal; plain lines, and no bars, when output is piped."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Advance]:
        if not self._console.is_terminal:
            yield lambda steps, note: None
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(title, total=total, note="")

            def advance(steps: float, note: str) -> None:
                if note:
                    bars.update(task, advance=steps, note=note)
                else:
                    bars.update(task, advance=steps)

            yield advance

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


QUIET: Progress = Quiet()
