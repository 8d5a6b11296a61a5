"""Temperatures, their limits, and what the kernel does against heat.

Linux: Documentation/driver-api/thermal/sysfs-api.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeticket.device_runner.readings.source import read_integer, read_text
from edgeticket.device_runner.unavailable import Unavailable

THERMAL = "sys/class/thermal"

PI_LIMIT_C = 80.0  # its firmware lowers the clock from here on, and tells Linux no trip point
PLAUSIBLE_C = (30.0, 150.0)  # trip points that nobody has set hold 0 or -274
CPU_ZONES = ("cpu", "soc", "pkg", "gpu", "core")  # in the type of zones that an inference heats
SLOWING = ("cpufreq", "Processor", "gpu", "devfreq")  # in the type of devices that slow it down


def read_temperature(root: Path) -> Mapping[str, float] | Unavailable:
    """Thermal zone and its type -> degrees Celsius from a file in thousandths."""
    found: dict[str, float] = {}
    for zone in _zones(root):
        kind, millidegrees = read_text(zone / "type"), read_integer(zone / "temp")
        if isinstance(kind, str) and isinstance(millidegrees, int):
            found[f"{zone.name} {kind}"] = millidegrees / 1000
    return found or Unavailable(f"no readable thermal zone under {root / THERMAL}")


def read_temperature_limits(
    root: Path, *, board: str | Unavailable
) -> Mapping[str, float] | Unavailable:
    """Thermal zone and its type -> degrees Celsius at which the board slows down.

    Zones of the CPU and GPU alone, and only those that have a limit: their lowest trip point of
    the kind "passive", or what the maker of a Raspberry Pi documents.
    """
    found: dict[str, float] = {}
    for zone in _zones(root):
        kind = read_text(zone / "type")
        if not isinstance(kind, str) or not any(word in kind.lower() for word in CPU_ZONES):
            continue
        trips = [
            value / 1000
            for trip in sorted(zone.glob("trip_point_*_type"))
            if read_text(trip) == "passive"
            for value in [read_integer(trip.with_name(trip.name.replace("_type", "_temp")))]
            if isinstance(value, int) and PLAUSIBLE_C[0] <= value / 1000 <= PLAUSIBLE_C[1]
        ]
        if isinstance(board, str) and board.startswith("Raspberry Pi"):
            trips.append(PI_LIMIT_C)
        if trips:
            found[f"{zone.name} {kind}"] = min(trips)
    return found or Unavailable(f"no zone of a CPU under {root / THERMAL} tells its limit")


def read_cooling(root: Path) -> Mapping[str, int] | Unavailable:
    """Cooling device and its type -> its state, of those that slow a CPU or GPU; 0: idle."""
    found: dict[str, int] = {}
    for device in sorted((root / THERMAL).glob("cooling_device*")):
        kind, state = read_text(device / "type"), read_integer(device / "cur_state")
        if not isinstance(kind, str) or not isinstance(state, int):
            continue
        if any(word in kind for word in SLOWING):
            found[f"{device.name} {kind}"] = state
    return found or Unavailable(f"no cooling device of a CPU under {root / THERMAL}")


def _zones(root: Path) -> list[Path]:
    return sorted((root / THERMAL).glob("thermal_zone*"))
