"""Supply and heat: what makes the firmware, the kernel or the hardware slow a board down."""

from __future__ import annotations

from collections.abc import Mapping

from edgeticket.device_runner.readings import Throttling
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity.evidence import Evidence, Found

SLOWED = ("frequency capped", "throttled", "soft temperature limit")


def find_under_voltage(seen: Evidence, bound: float) -> Found:
    alarms = [reading.under_voltage for reading in (seen.before, seen.after)]
    if True in alarms:
        return "the supply's alarm (rpi_volt in0_lcrit_alarm) is on"
    told = _conditions(seen, ("under-voltage",))
    return None if isinstance(told, Unavailable) and False in alarms else told


def find_slowed(seen: Evidence, bound: float) -> Found:
    return _conditions(seen, SLOWED)


def find_earlier_trouble(seen: Evidence, bound: float) -> Found:
    before = seen.before.throttling
    if isinstance(before, Unavailable):
        return before
    old = [name for name in before.since_boot if name not in before.now]
    return f"vcgencmd get_throttled: {', '.join(old)} since boot, not now" if old else None


def find_throttle_events(seen: Evidence, bound: float) -> Found:
    if isinstance(seen.during, Unavailable):
        return seen.during
    events = seen.during.throttle_events
    if isinstance(events, Unavailable):
        return events
    risen = [f"{name} {count} times" for name, count in events.items() if count > bound]
    return f"the hardware throttled: {', '.join(risen)}" if risen else None


def find_cooling(seen: Evidence, bound: float) -> Found:
    states = [seen.before.cooling, seen.after.cooling]
    if not isinstance(seen.during, Unavailable):
        states.append(seen.during.cooling)
    known = [state for state in states if not isinstance(state, Unavailable)]
    if not known:
        return states[0] if isinstance(states[0], Unavailable) else None
    active = {name for state in known for name, level in state.items() if level > bound}
    return f"the kernel slows the CPU or GPU down ({', '.join(sorted(active))})" if active else None


def find_hot(seen: Evidence, bound: float) -> Found:
    """``bound``: degrees below the zone's limit that must be left."""
    limits = seen.machine.temperature_limit_c
    if isinstance(limits, Unavailable):
        return limits
    highest = _hottest(seen)
    if not highest:
        return (
            seen.after.temperature_c if isinstance(seen.after.temperature_c, Unavailable) else None
        )
    hot = [
        f"{name} reached {highest[name]:.1f} °C, its limit is {limit:.0f} °C"
        for name, limit in limits.items()
        if name in highest and highest[name] >= limit - bound
    ]
    return "; ".join(hot) or None


def _conditions(seen: Evidence, names: tuple[str, ...]) -> Found:
    """Which of these a Raspberry Pi told of at any look, or saw since the measurement began."""
    before, after = seen.before.throttling, seen.after.throttling
    if not isinstance(before, Throttling) or not isinstance(after, Throttling):
        return before if isinstance(before, Unavailable) else _reason(after)
    new = set(after.since_boot) - set(before.since_boot)
    told = {*before.now, *after.now, *new}
    if not isinstance(seen.during, Unavailable):
        conditions = seen.during.conditions
        told |= set() if isinstance(conditions, Unavailable) else set(conditions)
    found = [name for name in names if name in told]
    return f"vcgencmd get_throttled: {', '.join(found)}" if found else None


def _reason(value: object) -> Unavailable:
    return value if isinstance(value, Unavailable) else Unavailable("it was not read")


def _hottest(seen: Evidence) -> Mapping[str, float]:
    highest: dict[str, float] = {}
    for reading in (seen.before.temperature_c, seen.after.temperature_c):
        if not isinstance(reading, Unavailable):
            for name, value in reading.items():
                highest[name] = max(value, highest.get(name, value))
    if not isinstance(seen.during, Unavailable):
        spans = seen.during.temperature_c
        if not isinstance(spans, Unavailable):
            for name, span in spans.items():
                highest[name] = max(span.highest, highest.get(name, span.highest))
    return highest
