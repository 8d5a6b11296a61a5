"""What a verdict rests on, and what one rule has to say about it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, Union

from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.readings import Readings
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.watch import During
from edgeticket.device_runner.windows import Windows


@dataclass(frozen=True)
class Evidence:
    """Everything that was read around one artifact's measurement."""

    machine: Machine
    before: Readings
    during: During | Unavailable
    after: Readings
    windows: Windows | Unavailable
    threads: int
    cores: int  # that the measurement might use
    paced: bool  # the CPU rested between frames, so its clock may fall
    sustained: bool = False  # for minutes, to see what heat leaves: slowing down is the finding
    not_finite: str | None = None  # the first output with such values, in words


Found = Union[str, None, Unavailable]
"""What a rule found, in words and with its value; None: all is well; else why it cannot tell."""

Find = Callable[[Evidence, float], Found]


def watched(find: Callable[[During, float], Found]) -> Find:
    """A rule about what was seen while measuring: it cannot tell where nothing was watched."""

    @functools.wraps(find)
    def found(seen: Evidence, bound: float) -> Found:
        during = seen.during
        return during if isinstance(during, Unavailable) else find(during, bound)

    return found


def over(value: float | Unavailable, bound: float, sentence: str) -> Found:
    """The sentence, with the value in it, if that is above its bound."""
    if isinstance(value, Unavailable):
        return value
    return sentence.format(value) if value > bound else None
