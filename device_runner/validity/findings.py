"""Evidence and bound in, finding out: one function for each rule of `rules.py`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Callable

from device_runner.readings import Throttling
from device_runner.unavailable import Unavailable
from device_runner.validity.evidence import Evidence, Find, Found
from device_runner.watch import During

SLOWED = ("frequency capped", "throttled", "soft temperature limit")
DYNAMIC_POWERSAVE = ("intel_pstate", "amd-pstate-epp")  # where it means "as fast as is needed"


def _watched(find: Callable[[During, float], Found]) -> Find:
    """A rule about what was seen while measuring: it cannot tell where nothing was watched."""

    @functools.wraps(find)
    def found(seen: Evidence, bound: float) -> Found:
        during = seen.during
        return during if isinstance(during, Unavailable) else find(during, bound)

    return found


def find_emulated(seen: Evidence, bound: float) -> Found:
    by = seen.machine.emulated
    return None if isinstance(by, Unavailable) else f"times are emulated ({by}), not measured"


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


def find_other_load(seen: Evidence, bound: float) -> Found:
    """``bound``: cores, if the measurement leaves so many free; a tenth of its threads at least."""
    allowed = max(0.1 * seen.threads, min(bound, float(seen.cores - seen.threads)))
    if isinstance(seen.during, Unavailable):
        return _over(seen.before.load_1min, allowed, "the load average of this minute is {:.2f}")
    load = seen.during.other_load_cores
    if isinstance(load, Unavailable):
        return load
    if load <= allowed:
        return None
    return f"other programs kept {load:.2f} of {seen.cores} cores busy, allowed: {allowed:.2f}"


@_watched
def find_waiting(during: During, bound: float) -> Found:
    return _over(during.waited_share, bound, "the measurement waited {:.1%} of its time for a CPU")


@_watched
def find_stolen(during: During, bound: float) -> Found:
    return _over(during.stolen_cores, bound, "the hypervisor took away {:.3f} cores (steal)")


@_watched
def find_swapping(during: During, bound: float) -> Found:
    return _over(during.swapped_pages, bound, "{} pages went to or came from swap")


@_watched
def find_clock_step(during: During, bound: float) -> Found:
    step = during.clock_step_s
    return f"the wall clock was set by {step:+.1f} s" if abs(step) > bound else None


@_watched
def find_suspend(during: During, bound: float) -> Found:
    return _over(during.suspended_s, bound, "the machine slept for {:.1f} s")


def find_spread(seen: Evidence, bound: float) -> Found:
    if isinstance(seen.windows, Unavailable):
        return seen.windows
    return _over(seen.windows.spread, bound, "the medians of windows spread by {:.1%}")


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


@_watched
def find_looking(during: During, bound: float) -> Found:
    return _over(during.looking_share, bound, "watching took {:.1%} of the time")


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


def _over(value: float | Unavailable, bound: float, sentence: str) -> Found:
    if isinstance(value, Unavailable):
        return value
    return sentence.format(value) if value > bound else None
