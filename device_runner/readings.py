"""What the machine is doing at this moment: clock, heat, load, throttling.

Every function takes the root of the file system, so that a laid-out tree can stand in for a board.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from device_runner.unavailable import Unavailable

Command = Callable[[Sequence[str]], str]
"""Runs a program -> its standard output; raises OSError or SubprocessError."""

CPUFREQ = "sys/devices/system/cpu/cpufreq"
CONDITIONS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


@dataclass(frozen=True)
class Throttling:
    """Conditions that a Raspberry Pi saw: now, and at some time since boot."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


@dataclass(frozen=True)
class Readings:
    """One look at the machine; mappings are by cpufreq policy and by thermal zone."""

    governor: Mapping[str, str] | Unavailable
    frequency_hz: Mapping[str, int] | Unavailable
    temperature_c: Mapping[str, float] | Unavailable
    load_1min: float | Unavailable
    throttling: Throttling | Unavailable


def run_command(command: Sequence[str]) -> str:
    """Run a program of the machine, at most 5 s -> its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout


def take_readings(root: Path = Path("/"), *, command: Command = run_command) -> Readings:
    """Look once; what cannot be read is ``Unavailable`` with the reason."""
    return Readings(
        governor=read_governor(root),
        frequency_hz=read_hertz(root, "scaling_cur_freq"),
        temperature_c=read_temperature(root),
        load_1min=read_load(root),
        throttling=read_throttling(command),
    )


def read_text(path: Path) -> str | Unavailable:
    """A small text file -> its text, stripped of blanks and the NULs of the device tree."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(2**20).strip(" \t\r\n\0")
    except OSError as error:
        return Unavailable(f"{path}: {error.strerror}")
    return text or Unavailable(f"{path} is empty")


def read_governor(root: Path) -> Mapping[str, str] | Unavailable:
    """cpufreq policy -> governor, e.g. {"policy0": "ondemand"}."""
    found = _by_policy(root, "scaling_governor")
    return found or Unavailable(f"no scaling_governor under {root / CPUFREQ}")


def read_hertz(root: Path, name: str) -> Mapping[str, int] | Unavailable:
    """cpufreq policy -> clock in Hz from a file in kHz."""
    found = {p: int(khz) * 1000 for p, khz in _by_policy(root, name).items() if khz.isdecimal()}
    return found or Unavailable(f"no {name} under {root / CPUFREQ}")


def read_temperature(root: Path) -> Mapping[str, float] | Unavailable:
    """Thermal zone and its type -> degrees Celsius from a file in thousandths."""
    folder = root / "sys/class/thermal"
    found: dict[str, float] = {}
    for zone in sorted(folder.glob("thermal_zone*")):
        kind, millidegrees = read_text(zone / "type"), read_text(zone / "temp")
        if isinstance(kind, str) and isinstance(millidegrees, str):
            try:
                found[f"{zone.name} {kind}"] = int(millidegrees) / 1000
            except ValueError:  # a sensor that is switched off
                continue
    return found or Unavailable(f"no readable thermal zone under {folder}")


def read_load(root: Path) -> float | Unavailable:
    """Processes that ran or waited, averaged over the last minute."""
    text = read_text(root / "proc/loadavg")
    if isinstance(text, Unavailable):
        return text
    try:
        return float(text.split()[0])
    except ValueError:
        return Unavailable(f"{root / 'proc/loadavg'} starts with {text[:20]!r}, not a number")


def read_throttling(command: Command) -> Throttling | Unavailable:
    """Raspberry Pi's `vcgencmd get_throttled`: bits 0 to 3 hold now, bits 16 to 19 since boot."""
    try:
        answer = command(["vcgencmd", "get_throttled"])
    except FileNotFoundError:
        return Unavailable("no vcgencmd (a Raspberry Pi has one)")
    except (OSError, subprocess.SubprocessError) as error:
        return Unavailable(f"vcgencmd get_throttled failed: {error}")
    try:
        bits = int(answer.strip().split("=")[1], 16)
    except (IndexError, ValueError):
        return Unavailable(f"vcgencmd get_throttled answered {answer[:40]!r}")
    return Throttling(
        now=tuple(name for i, name in enumerate(CONDITIONS) if bits >> i & 1),
        since_boot=tuple(name for i, name in enumerate(CONDITIONS) if bits >> (16 + i) & 1),
    )


def _by_policy(root: Path, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for policy in sorted((root / CPUFREQ).glob("policy*")):
        text = read_text(policy / name)
        if isinstance(text, str):
            found[policy.name] = text
    return found
