"""Machine and readings against laid-out file systems of boards."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from device_runner.cold import peak_rss
from device_runner.machine import describe_machine
from device_runner.readings import Throttling, run_command, take_readings
from device_runner.unavailable import Unavailable

PI4_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
Features\t: fp asimd asimddp
"""
ORIN_CPUINFO = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"  # noqa: E501
PC_CPUINFO = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu avx2 avx512_vnni\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def pi4(root: Path) -> Path:
    cpufreq = "sys/devices/system/cpu/cpufreq/policy0"
    return lay_out(
        root,
        {
            "sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/cpuinfo": PI4_CPUINFO,
            "proc/meminfo": "MemTotal:        3884360 kB\nMemFree: 1 kB\n",
            "proc/loadavg": "0.52 0.58 0.59 1/230 4242\n",
            "etc/os-release": 'NAME="x"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            f"{cpufreq}/scaling_governor": "ondemand\n",
            f"{cpufreq}/scaling_cur_freq": "1500000\n",
            f"{cpufreq}/cpuinfo_max_freq": "1800000\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48212\n",
        },
    )


def answers(text: str) -> object:
    def command(words: Sequence[str]) -> str:
        assert list(words) == ["vcgencmd", "get_throttled"]
        return text

    return command


def absent(words: Sequence[str]) -> str:
    raise FileNotFoundError(words[0])


def test_a_raspberry_pi(tmp_path: Path) -> None:
    found = describe_machine(pi4(tmp_path))
    assert found.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert found.cpu == "Cortex-A72"
    assert found.int8_instructions == ("asimd",)  # of the first CPU, no dot product
    assert found.memory_bytes == 3884360 * 1024
    assert found.max_frequency_hz == {"policy0": 1_800_000_000}
    assert found.os == "Debian GNU/Linux 12 (bookworm)"
    assert isinstance(found.jetson, Unavailable)
    now = take_readings(tmp_path, command=answers("throttled=0x50005\n"))  # type: ignore[arg-type]
    assert now.governor == {"policy0": "ondemand"}
    assert now.frequency_hz == {"policy0": 1_500_000_000}
    assert now.temperature_c == {"thermal_zone0 cpu-thermal": 48.212}
    assert now.load_1min == 0.52
    assert now.throttling == Throttling(
        now=("under-voltage", "throttled"), since_boot=("under-voltage", "throttled")
    )


def test_a_jetson_has_several_clocks_and_zones(tmp_path: Path) -> None:
    cpufreq = "sys/devices/system/cpu/cpufreq"
    root = lay_out(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/cpuinfo": ORIN_CPUINFO,
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\nmore\n",
            f"{cpufreq}/policy0/scaling_governor": "schedutil\n",
            f"{cpufreq}/policy4/scaling_governor": "performance\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "-1000\n",
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "off\n",
        },
    )
    found, now = describe_machine(root), take_readings(root, command=absent)
    assert found.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.cpu == "Cortex-A78AE"
    assert found.int8_instructions == ("asimd", "asimddp", "i8mm")
    assert found.jetson == "# R36 (release), REVISION: 4.0"
    assert now.governor == {"policy0": "schedutil", "policy4": "performance"}
    assert now.temperature_c == {"thermal_zone0 cpu-thermal": -1.0}
    assert now.throttling == Unavailable("no vcgencmd (a Raspberry Pi has one)")


def test_a_pc(tmp_path: Path) -> None:
    found = describe_machine(lay_out(tmp_path, {"proc/cpuinfo": PC_CPUINFO}))
    assert found.cpu == "Intel(R) Core(TM) i5"
    assert found.int8_instructions == ("avx2", "avx512_vnni")


def test_a_cpu_without_a_known_name_keeps_its_numbers(tmp_path: Path) -> None:
    text = PI4_CPUINFO.replace("0xd08", "0xfff")
    found = describe_machine(lay_out(tmp_path, {"proc/cpuinfo": text}))
    assert found.cpu == "CPU implementer 0x41 part 0xfff"


def test_an_empty_tree_gives_a_reason_for_everything(tmp_path: Path) -> None:
    found, now = describe_machine(tmp_path), take_readings(tmp_path, command=absent)
    for value in (found, now):
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.name not in ("architecture", "cores", "kernel"):
                assert isinstance(item, Unavailable), field.name
                assert item.reason
    assert found.architecture == platform.machine()
    assert found.kernel == platform.release()
    assert found.cores == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "files",
    [
        {"proc/loadavg": "high\n", "proc/cpuinfo": "\0", "proc/meminfo": "none"},
        {"proc/loadavg": "", "proc/cpuinfo": "\udc80".encode("utf-8", "replace").decode()},
        {"sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "<unknown>\n"},
    ],
)
def test_nonsense_gives_a_reason_too(tmp_path: Path, files: dict[str, str]) -> None:
    lay_out(tmp_path, files)
    found, now = describe_machine(tmp_path), take_readings(tmp_path, command=absent)
    for item in (found.memory_bytes, found.cpu, now.load_1min, now.frequency_hz):
        assert isinstance(item, Unavailable)


def fails(words: Sequence[str]) -> str:
    raise subprocess.CalledProcessError(255, list(words))


def hangs(words: Sequence[str]) -> str:
    raise subprocess.TimeoutExpired(list(words), 5)


@pytest.mark.parametrize(
    "command", [fails, hangs, answers("VCHI initialization failed"), answers("throttled=maybe")]
)
def test_a_vcgencmd_that_does_not_work_gives_a_reason(tmp_path: Path, command: object) -> None:
    found = take_readings(tmp_path, command=command).throttling  # type: ignore[arg-type]
    assert isinstance(found, Unavailable)
    assert "vcgencmd get_throttled" in found.reason


def test_commands_are_run() -> None:
    assert run_command([sys.executable, "-c", "print('throttled=0x0')"]) == "throttled=0x0\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_command([sys.executable, "-c", "raise SystemExit(1)"])


def test_this_machine_can_be_described() -> None:
    found = describe_machine()
    assert isinstance(found.memory_bytes, int)
    assert found.memory_bytes > 2**28
    assert isinstance(take_readings().load_1min, float)


def test_peak_memory_is_this_process_own(tmp_path: Path) -> None:
    found = peak_rss()
    assert isinstance(found, int)
    assert 2**20 < found < 2**40
    for missing in (tmp_path / "none", lay_out(tmp_path, {"status": "Name: x"}) / "status"):
        assert isinstance(peak_rss(missing), Unavailable)
