"""CPU clocks (Linux cpufreq: Documentation/admin-guide/pm/cpufreq.rst).

CPUs that share a clock are one policy: all of a Raspberry Pi's, a cluster of a Jetson's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeticket.device_runner.readings.source import read_text
from edgeticket.device_runner.unavailable import Unavailable

CPUFREQ = "sys/devices/system/cpu/cpufreq"

# Their highest clock is a turbo that one core reaches while the others rest.
TURBO_DRIVERS = (
    *("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp"),
    *("acpi-cpufreq", "pcc-cpufreq", "powernow-k8"),
)


def read_policies(root: Path, name: str) -> Mapping[str, str] | Unavailable:
    """cpufreq policy -> text of one of its files, e.g. {"policy0": "ondemand"}."""
    found: dict[str, str] = {}
    for policy in sorted((root / CPUFREQ).glob("policy*")):
        text = read_text(policy / name)
        if isinstance(text, str):
            found[policy.name] = text
    return found or Unavailable(f"no {name} under {root / CPUFREQ}")


def read_hertz(root: Path, name: str) -> Mapping[str, int] | Unavailable:
    """cpufreq policy -> clock in Hz from a file in kHz."""
    found = read_policies(root, name)
    if isinstance(found, Unavailable):
        return found
    hertz = {policy: int(khz) * 1000 for policy, khz in found.items() if khz.isdecimal()}
    return hertz or Unavailable(f"no readable {name} under {root / CPUFREQ}")


def read_rated_hertz(root: Path) -> Mapping[str, int] | Unavailable:
    """cpufreq policy -> the clock in Hz that it can hold for ever with all its cores at work.

    On boards that is the highest one. A PC's highest one is a turbo, so its base clock is taken.
    """
    drivers = read_policies(root, "scaling_driver")
    if not isinstance(drivers, Unavailable) and set(drivers.values()) & set(TURBO_DRIVERS):
        base = read_hertz(root, "base_frequency")
        if isinstance(base, Unavailable):
            return Unavailable("clocks above an unknown base clock are turbo, which is no promise")
        return base
    return read_hertz(root, "cpuinfo_max_freq")


def find_policy(root: Path) -> str | Unavailable:
    """The policy of the CPU that this process last ran on (field 39 of proc/self/stat)."""
    related = read_policies(root, "related_cpus")
    if isinstance(related, Unavailable):
        return related
    if len(related) == 1:
        return next(iter(related))
    text = read_text(root / "proc/self/stat")
    if isinstance(text, Unavailable):
        return text
    fields = text.rpartition(")")[2].split()  # from field 3 on: names of programs hold blanks
    cpu = fields[36] if len(fields) > 36 else ""
    for policy, cpus in related.items():
        if cpu in cpus.split():
            return policy
    return Unavailable(f"no cpufreq policy has CPU {cpu or 'of this process'}")
