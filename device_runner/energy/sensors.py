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
WHOLE_MODULE = ("VDD_IN", "POM_5V_IN")  # rails of Jetson modules that feed all others


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


def find_ina3221(root: Path, command: Command, clock: Callable[[], float]) -> Sensor | Unavailable:
    """Jetson's power monitors (Linux: Documentation/hwmon/ina3221.rst), in mV and mA."""
    rails: dict[str, tuple[Path, Path]] = {}
    for folder in find_hwmon(root, "ina3221"):
        for channel in CHANNELS:
            label = read_text(folder / f"in{channel}_label")
            current = folder / f"curr{channel}_input"
            if isinstance(label, str) and current.exists():
                rails[label] = (folder / f"in{channel}_input", current)
    if not rails:
        return Unavailable("no ina3221 with labelled rails (a Jetson has one)")
    whole = [name for name in WHOLE_MODULE if name in rails]
    names = whole[:1] or list(rails)
    scope = (
        "the whole module" if whole else "the sum of the module's rails; carrier board not in it"
    )

    def read_w() -> float | Unavailable:
        total = 0.0
        for name in names:
            volt, current = (read_integer(file) for file in rails[name])
            if isinstance(volt, Unavailable):
                return volt
            if isinstance(current, Unavailable):
                return current
            total += volt * current / 1e6
        return total

    return Sensor(f"INA3221 {' + '.join(names)}", scope, read_w)


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
