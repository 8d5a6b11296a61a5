"""The queries themselves: are they times of this machine, did they settle, were they answered?"""

from __future__ import annotations

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity.evidence import Evidence, Found, over


def find_emulated(seen: Evidence, bound: float) -> Found:
    by = seen.machine.emulated
    return None if isinstance(by, Unavailable) else f"times are emulated ({by}), not measured"


def find_not_finite(seen: Evidence, bound: float) -> Found:
    return seen.not_finite


def find_spread(seen: Evidence, bound: float) -> Found:
    if isinstance(seen.windows, Unavailable):
        return seen.windows
    return over(seen.windows.spread, bound, "the medians of windows spread by {:.1%}")


def find_drift(seen: Evidence, bound: float) -> Found:
    if isinstance(seen.windows, Unavailable):
        return seen.windows
    drift = seen.windows.drift
    if isinstance(drift, Unavailable):
        return drift
    way = "slower" if drift > 0 else "faster"
    return (
        f"queries got {abs(drift):.1%} {way} from window to window" if abs(drift) > bound else None
    )
