"""When a search has to come to its end: steps ask between their parts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError

FINISHING = 0.25  # of all time is kept for rounding, bundles and measurements after the training


class OutOfTimeError(InputError):
    """The time was over before there was anything to finish."""


@dataclass(frozen=True)
class Deadline:
    """``end``: of everything, ``training_end``: of training, by `time.monotonic`; None: never."""

    end: float | None
    training_end: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """From now on."""
        if seconds is None:
            return cls(None)
        now = time.monotonic()
        return cls(now + seconds, now + (1 - FINISHING) * seconds)

    @property
    def is_over(self) -> bool:
        """Whether nothing is begun any more."""
        return self.end is not None and time.monotonic() >= self.end

    def training_until(self, begun: float, share: float) -> float:
        """When so much of the time for training is over that is left at ``begun``."""
        if self.training_end is None:
            return math.inf
        return begun + share * max(0.0, self.training_end - begun)

    def check(self, doing: str) -> None:
        """Stop where there is nothing yet that could be finished.

        Raises:
            OutOfTimeError: the time is over.
        """
        if self.is_over:
            raise OutOfTimeError(
                f"the time was over while {doing}; what was done is kept: the same command goes "
                "on from there"
            )
