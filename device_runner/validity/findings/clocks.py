"""The clock that the CPU was allowed, and the one that it ran at."""

from __future__ import annotations

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity.evidence import Evidence, Found

DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp")  # where it means "as fast as is needed"


def find_powersave(seen: Evidence, bound: float) -> Found:
    governors = seen.before.governor
    if isinstance(governors, Unavailable):
        return governors
    drivers = seen.machine.frequency_driver
    slow = [
        policy
        for policy, governor in governors.items()
        if governor == "powersave"
        and (isinstance(drivers, Unavailable) or drivers.get(policy) not in DYNAMIC_POWERSAVE)
    ]
    return f"the governor of {', '.join(slow)} is powersave" if slow else None


def find_low_clock(seen: Evidence, bound: float) -> Found:
    """``bound``: share of the rated clock, or of the cap where one is set."""
    if seen.paced:
        return Unavailable("between paced frames the clock may fall")
    if isinstance(seen.during, Unavailable):
        return seen.during
    clock, policy = seen.during.clock_hz, seen.during.clock_policy
    rated, caps = seen.machine.rated_frequency_hz, seen.before.frequency_cap_hz
    if isinstance(clock, Unavailable):
        return clock
    if isinstance(policy, Unavailable):
        return policy
    if isinstance(rated, Unavailable):
        return rated
    if policy not in rated:
        return Unavailable(f"{policy} does not tell its highest clock")
    allowed = rated[policy]
    if not isinstance(caps, Unavailable) and policy in caps:
        allowed = min(allowed, caps[policy])
    if clock.median >= bound * allowed:
        return None
    return f"the clock of {policy} was {clock.median / 1e6:.0f} of {allowed / 1e6:.0f} MHz (median)"


def find_changed_cap(seen: Evidence, bound: float) -> Found:
    before, after = seen.before.frequency_cap_hz, seen.after.frequency_cap_hz
    if isinstance(before, Unavailable):
        return before
    if isinstance(after, Unavailable):
        return after
    changed = [
        f"{policy} from {before[policy] / 1e6:.0f} to {after[policy] / 1e6:.0f} MHz"
        for policy in before
        if policy in after and after[policy] != before[policy]
    ]
    return f"the highest allowed clock changed: {', '.join(changed)}" if changed else None


def find_cap(seen: Evidence, bound: float) -> Found:
    caps, highest = seen.before.frequency_cap_hz, seen.machine.max_frequency_hz
    if isinstance(caps, Unavailable):
        return caps
    if isinstance(highest, Unavailable):
        return highest
    capped = [
        f"{policy} to {caps[policy] / 1e6:.0f} of {highest[policy] / 1e6:.0f} MHz"
        for policy in caps
        if policy in highest and caps[policy] < bound * highest[policy]
    ]
    return f"the clock is capped: {', '.join(capped)}" if capped else None


def find_power_mode(seen: Evidence, bound: float) -> Found:
    mode = seen.before.power_mode
    if isinstance(mode, Unavailable):
        return mode
    return None if mode.upper().startswith("MAXN") else f"the power mode is {mode}, not MAXN"
