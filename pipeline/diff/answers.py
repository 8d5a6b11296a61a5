"""For which samples an artifact answers otherwise than its reference, by the bundle's task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import TRANSCRIPTS, TensorSpec
from edgeticket.device_runner.task import Settings, Task
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]
Reals = Mapping[str, Array]
"""Value -> real numbers [1, ...] for one sample, in the network's own order of axes."""


class Answers:
    """Gathers samples one by one. ``task``: what the bundle asks."""

    def __init__(self, bundle: Bundle, outputs: Sequence[TensorSpec]) -> None:
        self.task = bundle.manifest.task.name
        self._rule: tuple[Task, Settings] | None = bundle.task
        self._outputs = [spec.name for spec in outputs]
        self._seen = 0
        self._differing: list[int] = []
        self._missing: Unavailable | None = None
        if self._rule is None:
            self._missing = Unavailable(f"{TRANSCRIPTS} have no rule of when two are the same")

    def add(self, given: Reals, expected: Reals, rounded: Callable[[str, Array], Array]) -> None:
        """Add the next sample.

        Args:
            given: what the runtime had.
            expected: what the reference computes.
            rounded: value, reals -> what the reference's codes for them are worth.
        """
        if self._missing is not None or self._rule is None:
            return
        names = [_tapped(name, given) for name in self._outputs]
        if None in names:
            absent = self._outputs[names.index(None)]
            self._missing = Unavailable(f"the output {absent} is not among the values of both")
            return
        task, settings = self._rule
        present = [name for name in names if name is not None]
        wanted = [rounded(name, expected[name]) for name in present]
        try:
            same = task.agree(wanted, [given[name] for name in present], settings)
        except InputError as error:
            self._missing = Unavailable(str(error))
            return
        if not same.all():
            self._differing.append(self._seen)
        self._seen += 1

    def differing(self) -> tuple[int, ...] | Unavailable:
        """The samples whose answer is not the reference's, counted from 0."""
        return tuple(self._differing) if self._missing is None else self._missing


def _tapped(name: str, given: Reals) -> str | None:
    """The value that is the output; where a file moves its axes last, the one before that."""
    return next((each for each in (name, name.partition(".")[0]) if each in given), None)
