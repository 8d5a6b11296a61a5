"""What makes a measurement invalid and what only warns: the whole table, with its reasons.

docs/validity.md explains each rule to the person who met it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeticket.device_runner.validity import findings as f
from edgeticket.device_runner.validity.evidence import Find


@dataclass(frozen=True)
class Rule:
    """One thing that is looked at; ``bound``: see ``why``, which says why it is that number."""

    invalidates: bool
    find: Find
    bound: float
    why: str
    cure: str
    shows_what_is_sustained: bool = False  # no fault where minutes of load are asked for


INVALID, WARNING = True, False
COOL = "let the board cool down (--cooldown), give it a heat sink or a fan, and measure again"

RULES: Mapping[str, Rule] = {
    "emulated": Rule(
        INVALID, f.find_emulated, 0,
        "an emulator's time follows the machine below, not the CPU that it stands for",
        "accuracy and outputs hold; measure times on the real board",
    ),
    "not-finite": Rule(
        INVALID, f.find_not_finite, 0,
        "NaN and infinity are no answers, and kernels may take another time for them",
        "the model file is broken, or the samples are not for it",
    ),
    "under-voltage": Rule(
        INVALID, f.find_under_voltage, 0,
        "the firmware lowers the clock whenever the supply falls below 4.63 V",
        "use the board's own power supply and a short cable, and unplug USB devices",
    ),
    "throttled": Rule(
        INVALID, f.find_slowed, 0,
        "any look that saw it means an unknown share of queries ran at a lower clock",
        COOL,
        shows_what_is_sustained=True,
    ),
    "throttle-events": Rule(
        INVALID, f.find_throttle_events, 0,
        "one event takes the clock down for longer than many queries last",
        "cool the machine; on a Jetson choose a power mode that its supply can feed (nvpmodel -m)",
        shows_what_is_sustained=True,
    ),
    "cooling": Rule(
        INVALID, f.find_cooling, 0,
        "state 0 is full speed, every other state takes some of it",
        COOL,
        shows_what_is_sustained=True,
    ),
    "hot": Rule(
        INVALID, f.find_hot, 1.0,
        "within 1 °C of its limit a sensor of 1 °C steps may be at it",
        COOL,
        shows_what_is_sustained=True,
    ),
    "powersave": Rule(
        INVALID, f.find_powersave, 0,
        "this governor keeps the lowest clock whatever the load; nobody deploys so by intent",
        "sudo cpupower frequency-set -g performance (on a Jetson: sudo jetson_clocks)",
    ),
    "low-clock": Rule(
        INVALID, f.find_low_clock, 0.95,
        "latency is inverse to the clock, and 5 % is what comparisons are about",
        "set the governor to performance: sudo cpupower frequency-set -g performance",
        shows_what_is_sustained=True,
    ),
    "cap-changed": Rule(
        INVALID, f.find_changed_cap, 0,
        "somebody, mostly the kernel against heat, moved the limit during the measurement",
        COOL,
        shows_what_is_sustained=True,
    ),
    "other-load": Rule(
        INVALID, f.find_other_load, 1.0,
        "up to one core's worth can run beside the measurement on a core that it leaves free; "
        "without a free core it may be a tenth of the measurement's own",
        "stop other programs (top shows them), or keep to idle cores with --cores",
    ),
    "waiting": Rule(
        INVALID, f.find_waiting, 0.02,
        "mean latency is too high by this share; below 2 % it hides in the spread of windows",
        "stop other programs (top shows them), or keep to idle cores with --cores",
    ),
    "stolen": Rule(
        INVALID, f.find_stolen, 0.02,
        "time that a hypervisor gives to others is missing in the same way as waiting is",
        "use a virtual machine with dedicated cores, or measure on real hardware",
    ),
    "swapping": Rule(
        INVALID, f.find_swapping, 256,
        "1 MB of 4 kB pages; each fault costs as much as many queries. A few pages of idle "
        "programs may go",
        "close programs, or measure fewer artifacts at a time (--artifact)",
    ),
    "clock-step": Rule(
        INVALID, f.find_clock_step, 0.1,
        "latencies use a clock that nobody sets, but time stamps, and what a power meter says by "
        "them, are off by this; NTP steps only at 0.128 s and more",
        "wait until the clock is synchronised (timedatectl), and measure again",
    ),
    "suspended": Rule(
        INVALID, f.find_suspend, 0.1,
        "a machine that slept wakes up with cold caches, another clock and another temperature",
        "keep it awake: systemd-inhibit device-runner bench ...",
    ),
    "spread": Rule(
        INVALID, f.find_spread, 0.10,
        "medians of windows of a quiet board lie within 2 %; beyond 10 % the p50 depends on when "
        "one looks",
        "find what comes and goes (top, the governor, a fan), and measure longer: --min-seconds",
    ),
    "drift": Rule(
        INVALID, f.find_drift, 0.05,
        "a trend of 5 % means that the clock or the temperature had not settled",
        "warm up longer (--warmup-seconds 30) or cool down first (--cooldown), and measure again",
    ),
    "earlier-trouble": Rule(
        WARNING, f.find_earlier_trouble, 0,
        "it did not happen while measuring, but the board's supply or cooling is weak",
        "mend supply or cooling; a reboot clears these flags",
    ),
    "capped": Rule(
        WARNING, f.find_cap, 0.999,
        "a cap that stays may be meant, as a Jetson's power modes are; results hold for it alone",
        "raise it, if it is not meant: sudo cpupower frequency-set -u MAX (Jetson: nvpmodel -m 0)",
    ),
    "clusters": Rule(
        WARNING, f.find_clusters, 1.0,
        "a big core is several times as fast as a little one, whatever their clocks, so times of "
        "both are times of neither",
        "keep to the cores of one cluster: --cores (lscpu -e shows which belong together)",
    ),
    "power-mode": Rule(
        WARNING, f.find_power_mode, 0,
        "results hold for this mode alone",
        "sudo nvpmodel -m 0, if the device will be deployed so",
    ),
    "watching": Rule(
        WARNING, f.find_looking, 0.01,
        "timed calls are never interrupted, but the machine should be otherwise quiet",
        "measure longer: --min-seconds",
    ),
}  # fmt: skip
