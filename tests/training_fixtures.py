"""What tests that train share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from pipeline.progress import Advance


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make tiny networks slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
