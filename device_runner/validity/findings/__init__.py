"""Evidence and bound in, finding out: one function for each rule of `rules.py`."""

from __future__ import annotations

from edgeticket.device_runner.validity.findings.clocks import (
    find_cap,
    find_changed_cap,
    find_clusters,
    find_low_clock,
    find_power_mode,
    find_powersave,
)
from edgeticket.device_runner.validity.findings.meanwhile import (
    find_clock_step,
    find_looking,
    find_other_load,
    find_stolen,
    find_suspend,
    find_swapping,
    find_waiting,
)
from edgeticket.device_runner.validity.findings.throttling import (
    find_cooling,
    find_earlier_trouble,
    find_hot,
    find_slowed,
    find_throttle_events,
    find_under_voltage,
)
from edgeticket.device_runner.validity.findings.times import (
    find_drift,
    find_emulated,
    find_not_finite,
    find_spread,
)

__all__ = [
    "find_cap",
    "find_changed_cap",
    "find_clock_step",
    "find_clusters",
    "find_cooling",
    "find_drift",
    "find_earlier_trouble",
    "find_emulated",
    "find_hot",
    "find_looking",
    "find_low_clock",
    "find_not_finite",
    "find_other_load",
    "find_power_mode",
    "find_powersave",
    "find_slowed",
    "find_spread",
    "find_stolen",
    "find_suspend",
    "find_swapping",
    "find_throttle_events",
    "find_under_voltage",
    "find_waiting",
]
