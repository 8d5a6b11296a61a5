"""Machine and readings against laid-out file systems of boards."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from board_fixtures import BOARDS, ORIN, PI4, THERMAL, XAVIER, lay_out, policy

from edgeticket.device_runner.cold import peak_rss
from edgeticket.device_runner.machine import describe_machine, read_emulated
from edgeticket.device_runner.readings import Throttling, run_command, take_readings
from edgeticket.device_runner.readings.clocks import Thread, find_policies, read_threads
from edgeticket.device_runner.readings.throttling import read_throttle_events, read_throttling
from edgeticket.device_runner.unavailable import Unavailable

PC_CPUINFO = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu avx2 avx512_vnni\n"


def answers(text: str) -> object:
    return PI4.but(answers={"vcgencmd get_throttled": text}).command


def absent(words: Sequence[str]) -> str:
    raise FileNotFoundError(words[0])


@pytest.mark.parametrize("name", ["Pi 3", "Pi 4", "Pi 5"])
def test_raspberry_pis(tmp_path: Path, name: str) -> None:
    board = BOARDS[name]
    found = describe_machine(board.lay_out(tmp_path))
    assert found.board == board.model
    assert found.cpu == {"Pi 3": "Cortex-A53", "Pi 4": "Cortex-A72", "Pi 5": "Cortex-A76"}[name]
    assert found.int8_instructions == (("asimd", "asimddp") if name == "Pi 5" else ("asimd",))
    assert found.memory_bytes == 3884360 * 1024
    top = {"Pi 3": 1_400_000_000, "Pi 4": 1_800_000_000, "Pi 5": 2_400_000_000}[name]
    assert found.max_frequency_hz == found.rated_frequency_hz == {"policy0": top}
    assert found.frequency_driver == {"policy0": "cpufreq-dt"}
    assert found.temperature_limit_c == {"thermal_zone0 cpu-thermal": 80.0}
    assert found.os == "Debian GNU/Linux 12 (bookworm)"
    assert isinstance(found.jetson, Unavailable)
    now = take_readings(tmp_path, command=board.command)
    assert now.governor == {"policy0": "ondemand"}
    assert now.frequency_hz == now.frequency_cap_hz == {"policy0": top}
    assert now.temperature_c == {"thermal_zone0 cpu-thermal": 48.3}
    assert now.load_1min == 0.12
    assert now.throttling == Throttling(now=(), since_boot=())
    assert now.under_voltage is False
    assert isinstance(now.cooling, Unavailable)  # a fan slows nothing down
    assert now.power_mode == Unavailable("no nvpmodel (a Jetson has one)")


def test_bits_of_get_throttled(tmp_path: Path) -> None:
    told = answers("throttled=0x50005\n")
    now = take_readings(PI4.lay_out(tmp_path), command=told)  # type: ignore[arg-type]
    both = ("under-voltage", "throttled")
    assert now.throttling == Throttling(now=both, since_boot=both)
    told = answers("throttled=0xa0000\n")
    later = take_readings(tmp_path, command=told)  # type: ignore[arg-type]
    since = ("frequency capped", "soft temperature limit")
    assert later.throttling == Throttling(now=(), since_boot=since)


def test_an_orin(tmp_path: Path) -> None:
    found = describe_machine(ORIN.lay_out(tmp_path))
    assert found.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.cpu == "Cortex-A78AE"
    assert found.jetson == "# R36 (release), REVISION: 4.0"
    assert found.max_frequency_hz == {"policy0": 1_510_400_000, "policy4": 1_510_400_000}
    assert found.temperature_limit_c == {
        "thermal_zone0 cpu-thermal": 99.0,
        "thermal_zone1 gpu-thermal": 99.0,
    }
    now = take_readings(tmp_path, command=ORIN.command)
    assert now.governor == {"policy0": "schedutil", "policy4": "schedutil"}
    assert now.frequency_hz == {"policy0": 1_510_400_000, "policy4": 729_600_000}
    assert now.temperature_c == {
        "thermal_zone0 cpu-thermal": 47.2,
        "thermal_zone1 gpu-thermal": 45.8,
        "thermal_zone2 tj-thermal": 47.4,
    }
    assert now.cooling == {
        "cooling_device0 cpufreq-cpu0": 0,
        "cooling_device1 cpufreq-cpu4": 0,
        "cooling_device2 17000000.gpu": 0,
    }
    assert now.power_mode == "15W"
    assert now.throttling == Unavailable("no vcgencmd (a Raspberry Pi has one)")
    assert read_throttle_events(tmp_path) == {
        "over-current oc1": 0,
        "over-current oc2": 4,
        "over-current oc3": 0,
    }


def test_a_xavier(tmp_path: Path) -> None:
    found = describe_machine(XAVIER.lay_out(tmp_path))
    assert (found.board, found.cpu) == ("Jetson-AGX", "Carmel")
    assert found.jetson == "# R35 (release), REVISION: 5.0"
    assert found.temperature_limit_c == {"thermal_zone0 CPU-therm": 86.0}
    now = take_readings(tmp_path, command=XAVIER.command)
    assert now.power_mode == "MAXN"
    assert now.cooling == {"cooling_device0 thermal-cpufreq-0": 0}
    assert isinstance(now.frequency_hz, dict)
    assert set(now.frequency_hz) == {"policy0", "policy2", "policy4", "policy6"}


def test_a_sensor_that_is_off_is_left_out(tmp_path: Path) -> None:
    zone = f"{THERMAL}/thermal_zone1/temp"
    root = ORIN.but(zones={"cpu-thermal": -1.0, "cv0-thermal": 0}).lay_out(tmp_path)
    lay_out(root, {zone: "off\n"})
    now = take_readings(root, command=absent)
    assert now.temperature_c == {"thermal_zone0 cpu-thermal": -1.0}


def test_which_policy_a_process_runs_on(tmp_path: Path) -> None:
    ORIN.lay_out(tmp_path)

    def policies() -> tuple[str, ...] | Unavailable:
        return find_policies(tmp_path, Unavailable("not yet"), read_threads(tmp_path))

    assert policies() == ("policy0",)
    lay_out(tmp_path, {"proc/self/stat": "77 (a) b) R " + " ".join(["0"] * 35) + " 5 0\n"})
    assert policies() == ("policy4",)
    lay_out(tmp_path, {"proc/self/stat": "77 (a) R " + " ".join(["0"] * 35) + " 9 0\n"})
    assert policies() == Unavailable("no cpufreq policy has CPU 9")


def test_threads_that_rest_are_on_no_policy(tmp_path: Path) -> None:
    """Only what used CPU time since the last look counts, wherever it was before."""
    ORIN.lay_out(tmp_path)
    before = {"1": Thread(1000, "0"), "2": Thread(50, "0"), "3": Thread(7, "4")}
    now = {"1": Thread(1000, "0"), "2": Thread(90, "5"), "3": Thread(8, "0")}
    assert find_policies(tmp_path, before, now) == ("policy4",)
    both = {**now, "1": Thread(1030, "1")}
    assert find_policies(tmp_path, before, both) == ("policy0", "policy4")


@pytest.mark.parametrize(("base", "rated"), [("2400000", {"policy0": 2_400_000_000}), (None, None)])
def test_a_turbo_is_no_promise(tmp_path: Path, base: str | None, rated: object) -> None:
    more = {} if base is None else {"base_frequency": base}
    files = policy("0 1", 4_700_000, scaling_driver="intel_pstate", **more)
    found = describe_machine(PI4.but(policies={"policy0": files}).lay_out(tmp_path))
    assert found.max_frequency_hz == {"policy0": 4_700_000_000}
    if rated is None:
        assert isinstance(found.rated_frequency_hz, Unavailable)
    else:
        assert found.rated_frequency_hz == rated


def test_throttling_of_an_x86_cpu_is_counted(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    lay_out(tmp_path, {folder.format(i): f"{i + 1}\n" for i in range(2)})
    assert read_throttle_events(tmp_path) == {"thermal core": 3}


def test_a_pc(tmp_path: Path) -> None:
    found = describe_machine(lay_out(tmp_path, {"proc/cpuinfo": PC_CPUINFO}))
    assert found.cpu == "Intel(R) Core(TM) i5"
    assert found.int8_instructions == ("avx2", "avx512_vnni")


def test_a_cpu_without_a_known_name_keeps_its_numbers(tmp_path: Path) -> None:
    found = describe_machine(PI4.but(part="0xfff").lay_out(tmp_path))
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


def test_a_vcgencmd_that_prints_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A board of another firmware did; it is read with replacement, or unavailable."""

    def printed(words: Sequence[str]) -> str:
        return run_command(["printf", r"\377\376 throttled"])

    assert printed([]) == "\ufffd\ufffd throttled"
    found = take_readings(tmp_path, command=printed).throttling
    assert isinstance(found, Unavailable)
    assert "vcgencmd get_throttled" in found.reason


def test_commands_are_run() -> None:
    assert run_command(["echo", "throttled=0x0"]) == "throttled=0x0\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_command(["false"])


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


def test_an_emulated_machine_says_so(tmp_path: Path) -> None:
    def by(architecture: str) -> str | Unavailable:
        return read_emulated(tmp_path, architecture=architecture)

    assert by("aarch64") == Unavailable("no emulation seen")
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    kernel = tmp_path / "proc/sys/kernel/arch"
    kernel.write_text("x86_64\n")
    assert by("aarch64") == "aarch64 programs on a kernel for x86_64"
    assert isinstance(by("x86_64"), Unavailable)
    assert isinstance(by("i686"), Unavailable), "its own kernel runs that"
    kernel.write_text("aarch64\n")
    assert isinstance(by("armv7l"), Unavailable), "as on a Raspberry Pi with a 32-bit system"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/edgeticket-emulated").write_text("cortex-a72 by QEMU\n")
    assert by("aarch64") == "cortex-a72 by QEMU"


@pytest.mark.parametrize("answer", [rb"throttled=\377\376", rb"\377", rb"throttled=0x0\n\377"])
def test_a_program_that_prints_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """A real program, whose bytes are no UTF-8: read with replacements, or unavailable."""
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\nprintf '{answer.decode()}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = read_throttling(run_command)
    assert isinstance(found, Unavailable)
    assert "\ufffd" in found.reason
