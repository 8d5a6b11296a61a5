"""Wait until the machine has cooled down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.heat import CPU_ZONES, read_temperature
from edgeticket.device_runner.unavailable import Unavailable

STEP_S = 5.0
SETTLE_S = 60.0  # without a new low for so long, it has stopped falling...
SETTLE_C = 0.5  # ...a new low being at least so much lower
LIMIT_S = 900.0


@dataclass(frozen=True)
class Cooldown:
    """How long was waited, from which temperature to which, and what ended it."""

    waited_s: float
    from_c: float
    to_c: float
    ended: str


def cool_down(
    root: Path,
    *,
    below_c: float,
    tell: Callable[[str], None] = lambda sentence: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Cooldown | Unavailable:
    """Sleep until the hottest zone of the CPU is below ``below_c`` °C or stops falling.

    It is over after ``LIMIT_S`` in any case: in a warm room a bound may be out of reach.
    """
    first = _hottest(root)
    if isinstance(first, Unavailable):
        return first
    now = lowest = first
    waited = since_low = 0.0
    while True:
        if now < below_c:
            ended = f"below {below_c:g} °C"
        elif since_low >= SETTLE_S:
            ended = f"it stopped falling above {below_c:g} °C"
        elif waited >= LIMIT_S:
            ended = f"it was above {below_c:g} °C after {LIMIT_S / 60:g} minutes"
        else:
            tell(f"cooling down: {now:.1f} °C, until {below_c:g} °C")
            sleep(STEP_S)
            waited += STEP_S
            read = _hottest(root)
            now = now if isinstance(read, Unavailable) else read
            since_low = 0.0 if now <= lowest - SETTLE_C else since_low + STEP_S
            lowest = min(lowest, now) if since_low == 0.0 else lowest
            continue
        return Cooldown(waited, first, now, ended)


def _hottest(root: Path) -> float | Unavailable:
    zones = read_temperature(root)
    if isinstance(zones, Unavailable):
        return zones
    own = [c for name, c in zones.items() if any(word in name.lower() for word in CPU_ZONES)]
    return max(own or zones.values())
