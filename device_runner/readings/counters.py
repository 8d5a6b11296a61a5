"""Counters whose rise over a measurement tells what else the machine did meanwhile."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.source import read_text
from edgeticket.device_runner.readings.throttling import read_throttle_events
from edgeticket.device_runner.unavailable import Unavailable

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Counters:
    """One look at everything that only counts up, and at three clocks."""

    steady_ns: int  # never set: CLOCK_MONOTONIC
    wall_ns: int  # set by people and by NTP: CLOCK_REALTIME
    boot_ns: int | Unavailable  # steady, and goes on in suspend: CLOCK_BOOTTIME
    own_cpu_s: float  # of this process and the programs that it ran
    busy_s: float | Unavailable  # of the given CPUs, whoever kept them busy
    stolen_s: float | Unavailable  # that a hypervisor gave to others instead of these CPUs
    waited_s: float | Unavailable  # that threads of this process were ready and had no CPU
    swapped_pages: int | Unavailable  # in and out
    throttle_events: Mapping[str, int] | Unavailable


def read_counters(root: Path, *, cpus: Collection[int]) -> Counters:
    """Look once; ``cpus``: the ones that the measurement may use."""
    times, (busy, stolen) = os.times(), read_cpu_time(root, cpus=cpus)
    return Counters(
        steady_ns=time.monotonic_ns(),
        wall_ns=time.time_ns(),
        boot_ns=_boot_ns(),
        own_cpu_s=times.user + times.system + times.children_user + times.children_system,
        busy_s=busy,
        stolen_s=stolen,
        waited_s=read_waited(root),
        swapped_pages=read_swapped(root),
        throttle_events=read_throttle_events(root),
    )


def read_cpu_time(
    root: Path, *, cpus: Collection[int]
) -> tuple[float | Unavailable, float | Unavailable]:
    """Seconds that ``cpus`` were busy, and seconds that were stolen from them (proc/stat)."""
    text = read_text(root / "proc/stat")
    if isinstance(text, Unavailable):
        return text, text
    busy = stolen = seen = 0
    for number, line in re.findall(r"^cpu(\d+) (.*)$", text, re.MULTILINE):
        ticks = [int(field) for field in line.split() if field.isdecimal()]
        if int(number) in cpus and len(ticks) >= 8:
            user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
            busy += user + nice + system + irq + softirq
            stolen += steal
            seen += 1
    if not seen:
        missing = Unavailable(f"{root / 'proc/stat'} does not count the CPUs that were used")
        return missing, missing
    return busy / TICKS_PER_S, stolen / TICKS_PER_S


def read_waited(root: Path) -> float | Unavailable:
    """Seconds that this process's threads waited for a CPU (second field of schedstat)."""
    files = sorted((root / "proc/self/task").glob("*/schedstat"))
    waited = []
    for file in files:
        text = read_text(file)  # a thread may just have ended
        fields = text.split() if isinstance(text, str) else []
        if len(fields) >= 2 and fields[1].isdecimal():
            waited.append(int(fields[1]))
    if not waited:
        return Unavailable(f"no schedstat under {root / 'proc/self/task'}")
    return sum(waited) / 1e9


def read_swapped(root: Path) -> int | Unavailable:
    """Pages that went to swap and came from it since boot (proc/vmstat)."""
    text = read_text(root / "proc/vmstat")
    if isinstance(text, Unavailable):
        return text
    counts = re.findall(r"^pswp(?:in|out) (\d+)$", text, re.MULTILINE)
    if len(counts) != 2:
        return Unavailable(f"{root / 'proc/vmstat'} counts no swap")
    return sum(map(int, counts))


def read_load(root: Path) -> float | Unavailable:
    """Threads that ran or waited, averaged over the last minute."""
    text = read_text(root / "proc/loadavg")
    if isinstance(text, Unavailable):
        return text
    try:
        return float(text.split()[0])
    except ValueError:
        return Unavailable(f"{root / 'proc/loadavg'} starts with {text[:20]!r}, not a number")


def _boot_ns() -> int | Unavailable:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return Unavailable("this system has no clock that goes on in suspend")
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
