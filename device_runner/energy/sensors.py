"""Power sensors of machines; each says in words what its number covers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Union

from edgeticket.device_runner.readings.source import Command, ask, read_integer, read_text
from edgeticket.device_runner.readings.throttling import find_hwmon
from edgeticket.device_runner.unavailable import Unavailable

POWERCAP = "sys/class/powercap"
CHANNELS = (1, 2, 3)
UNCONNECTED = ("NC", "N/C", "NOT CONNECTED")  # a channel with nothing on it reads noise
# Rails of Jetsons (NVIDIA's Developer Guide, "Jetson ... Power Monitor") that feed all others.
WHOLE_MODULE = ("VDD_IN", "POM_5V_IN")
# Rails that are fed by another which is measured, too: adding both would count them twice. The
# memory of an AGX Orin is fed by its 5 V supply, at which the monitor looks (both say 5 V).
FED_BY = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}


@dataclass(frozen=True)
class Sensor:
    """``read_w`` gives power in W at this moment."""

    source: str
    scope: str
    read_w: Callable[[], float | Unavailable]


def find_sensors(
    root: Path, *, command: Command, clock: Callable[[], float] = perf_counter
) -> tuple[list[Sensor], Mapping[str, str]]:
    """The sensors that answer here, and why the others do not."""
    sensors: list[Sensor] = []
    missing: dict[str, str] = {}
    for name, find in SENSORS.items():
        sensor = find(root, command, clock)
        tried = sensor if isinstance(sensor, Unavailable) else sensor.read_w()
        if isinstance(sensor, Sensor) and not isinstance(tried, Unavailable):
            sensors.append(sensor)
        elif isinstance(tried, Unavailable):
            missing[name] = tried.reason
    return sensors, missing


@dataclass(frozen=True)
class _Rail:
    """One channel of a power monitor, in mV and mA."""

    label: str
    place: str  # chip and channel
    volt: Path
    current: Path

    def read_w(self) -> float | Unavailable:
        volt, current = read_integer(self.volt), read_integer(self.current)
        if isinstance(volt, Unavailable):
            return volt
        if isinstance(current, Unavailable):
            return current
        return volt * current / 1e6


def find_ina3221(root: Path, command: Command, clock: Callable[[], float]) -> Sensor | Unavailable:
    """Jetson's power monitors (Linux: Documentation/hwmon/ina3221.rst), in mV and mA.

    A rail that feeds all others says it alone, for they are part of it; else all are added up that
    are part of no other.
    """
    rails = _rails(root)
    if not rails:
        return Unavailable("no ina3221 with labelled rails (a Jetson has one)")
    whole = [rail for name in WHOLE_MODULE for rail in rails if rail.label == name]
    labels = [rail.label for rail in rails]
    used = whole[:1] or [rail for rail in rails if FED_BY.get(rail.label) not in labels]
    names = [
        rail.label if labels.count(rail.label) == 1 else f"{rail.label} ({rail.place})"
        for rail in used
    ]
    scope = (
        "the whole module" if whole else "the sum of the module's rails; carrier board not in it"
    )

    def read_w() -> float | Unavailable:
        total = 0.0
        for rail in used:
            power = rail.read_w()
            if isinstance(power, Unavailable):
                return power
            total += power
        return total

    return Sensor(f"INA3221 {' + '.join(names)}", scope, read_w)


def _rails(root: Path) -> list[_Rail]:
    """The channels that something is connected to, of all chips, in the order of their buses."""
    rails = []
    for folder in find_hwmon(root, "ina3221"):
        device = folder / "device"
        chip = device.resolve().name if device.exists() else folder.name
        for channel in CHANNELS:
            label = read_text(folder / f"in{channel}_label")
            volt, current = folder / f"in{channel}_input", folder / f"curr{channel}_input"
            switched = read_integer(folder / f"in{channel}_enable")
            if not isinstance(label, str) or label.upper() in UNCONNECTED or switched == 0:
                continue
            if current.exists():
                rails.append(_Rail(label, f"{chip} channel {channel}", volt, current))
    return sorted(rails, key=lambda rail: rail.place)


def find_pmic(root: Path, command: Command, clock: Callable[[], float]) -> Sensor | Unavailable:
    """Raspberry Pi 5's PMIC: `vcgencmd pmic_read_adc`, volts and amperes by rail."""

    def read_w() -> float | Unavailable:
        answer = ask(command, ["vcgencmd", "pmic_read_adc"], where="a Raspberry Pi 5")
        if isinstance(answer, Unavailable):
            return answer
        found = re.findall(r"(\S+)_([AV]) \w+\(\d+\)=([\d.]+)", answer)
        values = {(rail, unit): float(number) for rail, unit, number in found}
        powers = [
            values[rail, "V"] * ampere
            for (rail, unit), ampere in values.items()
            if unit == "A" and (rail, "V") in values
        ]
        if not powers:
            return Unavailable(
                f"vcgencmd pmic_read_adc answered {answer[:40]!r} (a Pi 5 has rails)"
            )
        return sum(powers)

    return Sensor(
        "PMIC rails",
        "the sum of the rails behind the PMIC: its own losses, USB and fan are not in it, so it is "
        "less than wall power",
        read_w,
    )


def find_rapl(root: Path, command: Command, clock: Callable[[], float]) -> Sensor | Unavailable:
    """x86 RAPL (Linux: Documentation/power/powercap/powercap.rst): energy counters of packages."""
    zones = [
        zone
        for zone in sorted((root / POWERCAP).glob("intel-rapl:*"))
        if str(read_text(zone / "name")).startswith("package")
    ]
    if not zones:
        return Unavailable(f"no package of intel-rapl under {root / POWERCAP}")
    counters = [_Counter(zone) for zone in zones]
    last = [clock()]

    def read_w() -> float | Unavailable:
        """Mean power since the last call; of the first call, since the sensor was found."""
        joules = 0.0
        for counter in counters:
            risen = counter.rise_j()
            if isinstance(risen, Unavailable):
                return Unavailable(f"{risen.reason} (reading it may need root)")
            joules += risen
        now = clock()
        seconds, last[0] = now - last[0], now
        return joules / max(seconds, 1e-6)

    return Sensor("RAPL", "the CPU packages; memory, disks and supply losses are not in it", read_w)


class _Counter:
    """An energy counter in microjoules that begins anew at its range."""

    def __init__(self, zone: Path) -> None:
        self._zone = zone
        self._last = read_integer(zone / "energy_uj")

    def rise_j(self) -> float | Unavailable:
        now, range_uj = (read_integer(self._zone / n) for n in ("energy_uj", "max_energy_range_uj"))
        before, self._last = self._last, now
        if isinstance(now, Unavailable):
            return now
        if isinstance(before, Unavailable):
            return before
        if now < before:
            return (
                range_uj if isinstance(range_uj, Unavailable) else (now + range_uj - before) / 1e6
            )
        return (now - before) / 1e6


Find = Callable[[Path, Command, Callable[[], float]], Union[Sensor, Unavailable]]

SENSORS: Mapping[str, Find] = {
    "INA3221": find_ina3221,
    "PMIC": find_pmic,
    "RAPL": find_rapl,
}
