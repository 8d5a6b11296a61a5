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
    clocks, rated = seen.during.clock_hz, seen.machine.rated_frequency_hz
    caps = seen.before.frequency_cap_hz
    if isinstance(clocks, Unavailable):
        return clocks
    if isinstance(rated, Unavailable):
        return rated
    known = [policy for policy in clocks if policy in rated]
    if not known:
        return Unavailable(f"{', '.join(clocks)} does not tell its highest clock")
    low = []
    for policy in known:
        allowed, median = rated[policy], clocks[policy].median
        if not isinstance(caps, Unavailable) and policy in caps:
            allowed = min(allowed, caps[policy])
        if median < bound * allowed:
            low.append(f"{policy} was {median / 1e6:.0f} of {allowed / 1e6:.0f} MHz")
    return f"the clock of {', of '.join(low)} (median)" if low else None


def find_clusters(seen: Evidence, bound: float) -> Found:
    """``bound``: by how much the highest clocks of the clusters that were used may differ."""
    if isinstance(seen.during, Unavailable):
        return seen.during
    clocks, highest = seen.during.clock_hz, seen.machine.max_frequency_hz
    if isinstance(clocks, Unavailable):
        return clocks
    if isinstance(highest, Unavailable):
        return highest
    used = {policy: highest[policy] for policy in clocks if policy in highest}
    if not used or max(used.values()) <= bound * min(used.values()):
        return None
    clusters = ", ".join(f"{policy} (to {hz / 1e6:.0f} MHz)" for policy, hz in used.items())
    return f"it ran on unlike clusters of cores: {clusters}"


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
