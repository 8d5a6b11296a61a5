"""CPU clocks (Linux cpufreq: Documentation/admin-guide/pm/cpufreq.rst).

CPUs that share a clock are one policy: all of a Raspberry Pi's, a cluster of a Jetson's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.source import read_text
from edgeticket.device_runner.unavailable import Unavailable

CPUFREQ = "sys/devices/system/cpu/cpufreq"
WORKING = 10  # the busiest thread's time divided by this is work, too

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


@dataclass(frozen=True)
class Thread:
    """``ticks`` of CPU time that it used since it began, and the CPU that it ran on last."""

    ticks: int
    cpu: str


def read_threads(root: Path) -> Mapping[str, Thread] | Unavailable:
    """The threads of this process by their numbers (fields 14, 15 and 39 of their stat)."""
    tasks = root / "proc/self/task"
    files = {file.parent.name: file for file in sorted(tasks.glob("*/stat"))}
    threads = {}
    for name, file in (files or {"self": root / "proc/self/stat"}).items():
        text = read_text(file)  # a thread may just have ended
        # From field 3 on: names of programs hold blanks.
        fields = text.rpartition(")")[2].split() if isinstance(text, str) else []
        if len(fields) > 36 and fields[11].isdecimal() and fields[12].isdecimal():
            threads[name] = Thread(int(fields[11]) + int(fields[12]), fields[36])
    return threads or Unavailable(f"no readable stat under {tasks}")


def find_policies(
    root: Path, before: Mapping[str, Thread] | Unavailable, now: Mapping[str, Thread] | Unavailable
) -> tuple[str, ...] | Unavailable:
    """The policies of the CPUs that this process's working threads ran on last.

    Working are those that used CPU time between the two looks: a tenth at least of what the
    busiest did.
    """
    related = read_policies(root, "related_cpus")
    if isinstance(related, Unavailable):
        return related
    if len(related) == 1:
        return tuple(related)
    if isinstance(now, Unavailable):
        return now
    earlier: Mapping[str, Thread] = {} if isinstance(before, Unavailable) else before
    idle = Thread(0, "")
    risen = {name: thread.ticks - earlier.get(name, idle).ticks for name, thread in now.items()}
    if not any(risen.values()):  # too short a time to tell: those that have worked before
        risen = {name: thread.ticks for name, thread in now.items()}
    working = [name for name, ticks in risen.items() if ticks >= max(risen.values()) / WORKING]
    cpus = {now[name].cpu for name in working}
    policies = tuple(name for name, members in related.items() if cpus & set(members.split()))
    return policies or Unavailable(f"no cpufreq policy has CPU {', '.join(sorted(cpus))}")
