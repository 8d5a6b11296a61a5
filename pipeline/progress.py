"""Progress of long work: bars on a terminal; elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
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

from edgeticket.pipeline.text import plain

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
    """Bars with time left on a terminal; when output is piped, a line every half minute."""

    def __init__(self, console: Console, *, every_s: float = 30.0) -> None:
        self._console = console
        self._every_s = every_s

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Advance]:
        if not self._console.is_terminal:
            yield self._lines(title, total)
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
            task = bars.add_task(plain(title), total=total, note="")

            def advance(steps: float, note: str) -> None:
                if note:
                    bars.update(task, advance=steps, note=plain(note))
                else:
                    bars.update(task, advance=steps)

            yield advance

    def say(self, line: str) -> None:
        self._console.print(plain(line), markup=False, highlight=False, soft_wrap=True)

    def _lines(self, title: str, total: float) -> Advance:
        done, note_now = 0.0, ""
        start = last = time.monotonic()

        def advance(steps: float, note: str) -> None:
            nonlocal done, note_now, last
            done += steps
            note_now = note or note_now
            now = time.monotonic()
            if now - last < self._every_s or done >= total:
                return  # what ends says so itself
            last = now
            left = (
                f", about {_duration((now - start) / done * (total - done))} left" if done else ""
            )
            more = f": {note_now}" * bool(note_now)
            share = f"{done / total:.0%}"
            if total > 1:  # else it is a share itself
                share = f"{done:.0f} of {total:.0f} ({share})"
            self.say(f"  {title}: {share}{left}{more}")

        return advance


@dataclass(frozen=True)
class Hushed:
    """The bars of another one, without its lines: for runs by the dozen within one command."""

    progress: Progress

    def task(self, title: str, total: float) -> AbstractContextManager[Advance]:
        return self.progress.task(title, total)

    def say(self, line: str) -> None:
        return None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


QUIET: Progress = Quiet()
