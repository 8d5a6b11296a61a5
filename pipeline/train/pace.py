"""How fast a training is, and what its time goes to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WORTH_A_LINE_S = 60.0  # shorter trainings say nothing of it


@dataclass
class Pace:
    """Time of a training, of which some is the network's: forward, backward and optimizer."""

    examples: int = 0
    network_s: float = 0.0
    began_s: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, examples: int) -> Iterator[None]:
        """Count a step of the network."""
        begun = time.perf_counter()
        yield
        self.network_s += time.perf_counter() - begun
        self.examples += examples

    def line(self) -> str | None:
        """Examples a second, and the share of the time outside of the network; None: too short."""
        seconds = time.perf_counter() - self.began_s
        if seconds < WORTH_A_LINE_S:
            return None
        outside = 1 - self.network_s / seconds
        return (
            f"{self.examples / seconds:,.0f} examples a second; {outside:.0%} of the time was not "
            "the network's"
        )
