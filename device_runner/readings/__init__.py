"""What the machine is doing at this moment: clock, heat, load, throttling.

Every function takes the root of the file system, so that a laid-out tree can stand in for a board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.clocks import read_hertz, read_policies
from edgeticket.device_runner.readings.counters import read_load
from edgeticket.device_runner.readings.heat import read_cooling, read_temperature
from edgeticket.device_runner.readings.source import Command, run_command
from edgeticket.device_runner.readings.throttling import (
    Throttling,
    read_power_mode,
    read_throttling,
    read_under_voltage,
)
from edgeticket.device_runner.unavailable import Unavailable

__all__ = ["Command", "Readings", "Throttling", "run_command", "take_readings"]


@dataclass(frozen=True)
class Readings:
    """One look at the machine; mappings are by cpufreq policy, thermal zone or cooling device."""

    governor: Mapping[str, str] | Unavailable
    frequency_hz: Mapping[str, int] | Unavailable
    frequency_cap_hz: Mapping[str, int] | Unavailable  # the highest that it may take now
    temperature_c: Mapping[str, float] | Unavailable
    load_1min: float | Unavailable
    throttling: Throttling | Unavailable
    under_voltage: bool | Unavailable
    cooling: Mapping[str, int] | Unavailable  # above 0: it slows a CPU or GPU down
    power_mode: str | Unavailable


def take_readings(root: Path = Path("/"), *, command: Command = run_command) -> Readings:
    """Look once; what cannot be read is ``Unavailable`` with the reason."""
    return Readings(
        governor=read_policies(root, "scaling_governor"),
        frequency_hz=read_hertz(root, "scaling_cur_freq"),
        frequency_cap_hz=read_hertz(root, "scaling_max_freq"),
        temperature_c=read_temperature(root),
        load_1min=read_load(root),
        throttling=read_throttling(command),
        under_voltage=read_under_voltage(root),
        cooling=read_cooling(root),
        power_mode=read_power_mode(command),
    )
