"""Who slowed the machine down: firmware, over-current protection, the CPU itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.source import Command, ask, read_integer, read_text
from edgeticket.device_runner.unavailable import Unavailable

CONDITIONS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
HWMON = "sys/class/hwmon"


@dataclass(frozen=True)
class Throttling:
    """Conditions that a Raspberry Pi saw: now, and at some time since boot."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def read_throttling(command: Command) -> Throttling | Unavailable:
    """Raspberry Pi's `vcgencmd get_throttled`: bits 0 to 3 hold now, bits 16 to 19 since boot."""
    answer = ask(command, ["vcgencmd", "get_throttled"], where="a Raspberry Pi")
    if isinstance(answer, Unavailable):
        return answer
    try:
        bits = int(answer.strip().split("=")[1], 16)
    except (IndexError, ValueError):
        return Unavailable(f"vcgencmd get_throttled answered {answer[:40]!r}")
    return Throttling(
        now=tuple(name for i, name in enumerate(CONDITIONS) if bits >> i & 1),
        since_boot=tuple(name for i, name in enumerate(CONDITIONS) if bits >> (16 + i) & 1),
    )


def read_under_voltage(root: Path) -> bool | Unavailable:
    """The alarm of a Raspberry Pi's supply, from the kernel: for systems without vcgencmd."""
    for folder in find_hwmon(root, "rpi_volt"):
        alarm = read_integer(folder / "in0_lcrit_alarm")
        return alarm if isinstance(alarm, Unavailable) else alarm != 0
    return Unavailable(f"no rpi_volt under {root / HWMON} (a Raspberry Pi has one)")


def read_throttle_events(root: Path) -> Mapping[str, int] | Unavailable:
    """Counters that rise when hardware throttles: of Jetson's over-current unit and of x86 CPUs."""
    found: dict[str, int] = {}
    for folder in find_hwmon(root, "soctherm_oc"):
        for file in sorted(folder.glob("oc*_event_cnt")):
            count = read_integer(file)
            if isinstance(count, int):
                found[f"over-current {file.name.split('_')[0]}"] = count
    for kind in ("core", "package"):
        files = (root / "sys/devices/system/cpu").glob(
            f"cpu*/thermal_throttle/{kind}_throttle_count"
        )
        counts = [count for file in files if isinstance(count := read_integer(file), int)]
        if counts:
            found[f"thermal {kind}"] = sum(counts)
    return found or Unavailable("neither soctherm_oc (Jetson) nor thermal_throttle (x86) counts")


def read_power_mode(command: Command) -> str | Unavailable:
    """A Jetson's `nvpmodel -q` -> name of the power mode, e.g. MAXN or 15W."""
    answer = ask(command, ["nvpmodel", "-q"], where="a Jetson")
    if isinstance(answer, Unavailable):
        return answer
    for line in answer.splitlines():
        title, _, name = line.partition(":")
        if title.strip() == "NV Power Mode" and name.strip():
            return name.strip()
    return Unavailable(f"nvpmodel -q answered {answer[:40]!r}")


def find_hwmon(root: Path, name: str) -> list[Path]:
    """Folders of the sensors of that name; their numbers change from boot to boot."""
    return [f for f in sorted((root / HWMON).glob("hwmon*")) if read_text(f / "name") == name]
