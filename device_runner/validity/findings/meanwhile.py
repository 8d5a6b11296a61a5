"""What else the machine did while it measured."""

from __future__ import annotations

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity.evidence import Evidence, Found, over, watched
from edgeticket.device_runner.watch import During


def find_other_load(seen: Evidence, bound: float) -> Found:
    """``bound``: cores, if the measurement leaves so many free; a tenth of its threads at least."""
    allowed = max(0.1 * seen.threads, min(bound, float(seen.cores - seen.threads)))
    if isinstance(seen.during, Unavailable):
        return over(seen.before.load_1min, allowed, "the load average of this minute is {:.2f}")
    load = seen.during.other_load_cores
    if isinstance(load, Unavailable):
        return load
    if load <= allowed:
        return None
    return f"other programs kept {load:.2f} of {seen.cores} cores busy, allowed: {allowed:.2f}"


@watched
def find_waiting(during: During, bound: float) -> Found:
    return over(during.waited_share, bound, "the measurement waited {:.1%} of its time for a CPU")


@watched
def find_stolen(during: During, bound: float) -> Found:
    return over(during.stolen_cores, bound, "the hypervisor took away {:.3f} cores (steal)")


@watched
def find_swapping(during: During, bound: float) -> Found:
    return over(during.swapped_pages, bound, "{} pages went to or came from swap")


@watched
def find_clock_step(during: During, bound: float) -> Found:
    step = during.clock_step_s
    return f"the wall clock was set by {step:+.1f} s" if abs(step) > bound else None


@watched
def find_suspend(during: During, bound: float) -> Found:
    return over(during.suspended_s, bound, "the machine slept for {:.1f} s")


@watched
def find_looking(during: During, bound: float) -> Found:
    return over(during.looking_share, bound, "watching took {:.1%} of the time")
