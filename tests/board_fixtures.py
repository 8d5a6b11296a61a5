"""File trees and programs of boards, laid out from small dicts: what a runner would find there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

CPUFREQ = "sys/devices/system/cpu/cpufreq"
THERMAL = "sys/class/thermal"
HWMON = "sys/class/hwmon"
A53, A72, A76, A78AE, CARMEL = "0xd03", "0xd08", "0xd0b", "0xd42", "0x004"


@dataclass(frozen=True)
class Board:
    """One machine; ``files`` are added to what the other fields give, or replace it."""

    model: str
    part: str
    features: str
    cpus: int
    policies: Mapping[str, Mapping[str, str]]
    zones: Mapping[str, float]  # type -> degrees Celsius
    trips: Mapping[str, float] = field(default_factory=dict)  # type of zone -> passive trip point
    cooling: Mapping[str, int] = field(default_factory=dict)  # type -> state
    answers: Mapping[str, str] = field(default_factory=dict)  # command line -> answer
    files: Mapping[str, str] = field(default_factory=dict)
    implementer: str = "0x41"

    def lay_out(self, root: Path) -> Path:
        """Write the tree below ``root``."""
        files = {
            "sys/firmware/devicetree/base/model": f"{self.model}\0",
            "proc/cpuinfo": "\n".join(
                f"processor\t: {i}\nFeatures\t: {self.features}\n"
                f"CPU implementer\t: {self.implementer}\nCPU part\t: {self.part}\n"
                for i in range(self.cpus)
            ),
            "proc/meminfo": "MemTotal:        3884360 kB\nMemFree:  1 kB\n",
            "proc/loadavg": "0.12 0.18 0.19 1/230 4242\n",
            "proc/vmstat": "nr_free_pages 1\npswpin 7\npswpout 5\n",
            "proc/self/stat": "77 (py thon) R " + " ".join(["0"] * 35) + " 0 0\n",
            "etc/os-release": 'NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        }
        for policy, values in self.policies.items():
            files |= {f"{CPUFREQ}/{policy}/{name}": f"{text}\n" for name, text in values.items()}
        for i, (kind, degrees) in enumerate(self.zones.items()):
            zone = f"{THERMAL}/thermal_zone{i}"
            files |= {f"{zone}/type": f"{kind}\n", f"{zone}/temp": f"{round(degrees * 1000)}\n"}
            files |= {
                f"{zone}/trip_point_0_type": "critical\n",
                f"{zone}/trip_point_0_temp": "120000",
            }
            if kind in self.trips:
                files[f"{zone}/trip_point_1_type"] = "passive\n"
                files[f"{zone}/trip_point_1_temp"] = f"{round(self.trips[kind] * 1000)}\n"
        for i, (kind, state) in enumerate(self.cooling.items()):
            device = f"{THERMAL}/cooling_device{i}"
            files |= {f"{device}/type": f"{kind}\n", f"{device}/cur_state": f"{state}\n"}
        return lay_out(root, {**files, **self.files})

    def command(self, words: Sequence[str]) -> str:
        """Stands in for `run_command`."""
        line = " ".join(words)
        if line not in self.answers:
            raise FileNotFoundError(words[0])
        return self.answers[line]

    def but(self, **changes: object) -> Board:
        """The same board with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below ``root``."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def policy(
    cpus: str, top_khz: int, *, now_khz: int | None = None, cap_khz: int | None = None, **more: str
) -> dict[str, str]:
    """The files of one cpufreq policy."""
    return {
        "related_cpus": cpus,
        "cpuinfo_max_freq": str(top_khz),
        "scaling_max_freq": str(cap_khz or top_khz),
        "scaling_cur_freq": str(now_khz or top_khz),
        "scaling_governor": "ondemand",
        "scaling_driver": "cpufreq-dt",
        **more,
    }


def ina3221(number: int, **rails: tuple[int, int]) -> dict[str, str]:
    """A power monitor: rail -> mV and mA."""
    folder = f"{HWMON}/hwmon{number}"
    files = {f"{folder}/name": "ina3221\n"}
    for i, (rail, (volt, ampere)) in enumerate(rails.items(), 1):
        files[f"{folder}/in{i}_label"] = f"{rail}\n"
        files[f"{folder}/in{i}_input"] = f"{volt}\n"
        files[f"{folder}/curr{i}_input"] = f"{ampere}\n"
    return files


def over_current(number: int, *counts: int) -> dict[str, str]:
    """The over-current unit of a Jetson."""
    folder = f"{HWMON}/hwmon{number}"
    events = {f"{folder}/oc{i}_event_cnt": f"{count}\n" for i, count in enumerate(counts, 1)}
    return {f"{folder}/name": "soctherm_oc\n", **events}


PMIC_ANSWER = """\
 3V7_WL_SW_A current(0)=0.10000000A
 3V3_SYS_A current(1)=0.20000000A
 VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.70000000V
 3V3_SYS_V volt(9)=3.30000000V
 VDD_CORE_V volt(15)=0.90000000V
 EXT5V_V volt(24)=5.10000000V
 BATT_V volt(25)=0.00000000V
"""
PMIC_W = 0.1 * 3.7 + 0.2 * 3.3 + 2.0 * 0.9

TEGRA = {"scaling_governor": "schedutil", "scaling_driver": "tegra194"}
QUIET_PI = {"vcgencmd get_throttled": "throttled=0x0\n"}
RPI_VOLT = {f"{HWMON}/hwmon1/name": "rpi_volt\n", f"{HWMON}/hwmon1/in0_lcrit_alarm": "0\n"}

PI3 = Board(
    "Raspberry Pi 3 Model B Plus Rev 1.3", A53, "fp asimd evtstrm crc32 cpuid", 4,
    {"policy0": policy("0 1 2 3", 1_400_000)}, {"cpu-thermal": 48.3},
    answers=QUIET_PI, files=RPI_VOLT,
)  # fmt: skip
PI4 = PI3.but(
    model="Raspberry Pi 4 Model B Rev 1.4",
    part=A72,
    policies={"policy0": policy("0 1 2 3", 1_800_000)},
)
PI5 = PI4.but(
    model="Raspberry Pi 5 Model B Rev 1.0",
    part=A76,
    features="fp asimd asimddp",
    policies={"policy0": policy("0 1 2 3", 2_400_000)},
    cooling={"pwm-fan": 2},
    answers={**QUIET_PI, "vcgencmd pmic_read_adc": PMIC_ANSWER},
)
ORIN = Board(
    "NVIDIA Jetson Orin Nano Developer Kit", A78AE, "fp asimd asimddp", 6,
    {
        "policy0": policy("0 1 2 3", 1_510_400, **TEGRA),
        "policy4": policy("4 5", 1_510_400, now_khz=729_600, **TEGRA),
    },
    {"cpu-thermal": 47.2, "gpu-thermal": 45.8, "tj-thermal": 47.4},
    trips={"cpu-thermal": 99.0, "gpu-thermal": 99.0},
    cooling={"cpufreq-cpu0": 0, "cpufreq-cpu4": 0, "17000000.gpu": 0, "pwm-fan": 1},
    answers={"nvpmodel -q": "NV Power Mode: 15W\n0\n"},
    files={
        **ina3221(2, VDD_IN=(5008, 900), VDD_CPU_GPU_CV=(5000, 300), VDD_SOC=(5000, 280)),
        **over_current(3, 0, 4, 0),
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\nmore\n",
    },
)  # fmt: skip
XAVIER = Board(
    "Jetson-AGX", CARMEL, "fp asimd", 8,
    {
        f"policy{i}": policy(f"{i} {i + 1}", 2_265_600, **TEGRA)
        for i in (0, 2, 4, 6)
    },
    {"CPU-therm": 36.5, "GPU-therm": 35.0, "thermal-fan-est": 36.0},
    trips={"CPU-therm": 86.0},
    cooling={"thermal-cpufreq-0": 0},
    answers={"nvpmodel -q": "NV Fan Mode:quiet\nNV Power Mode: MAXN\n0\n"},
    files={
        **ina3221(0, GPU=(19000, 10), CPU=(19000, 40), SOC=(19000, 50)),
        **ina3221(1, CV=(19000, 0), VDDRQ=(19000, 10), SYS5V=(5000, 400)),
        **over_current(4, 0, 0),
        "etc/nv_tegra_release": "# R35 (release), REVISION: 5.0\n",
    },
    implementer="0x4e",
)  # fmt: skip

BOARDS = {"Pi 3": PI3, "Pi 4": PI4, "Pi 5": PI5, "Orin": ORIN, "Xavier": XAVIER}
