"""What the machine is: board, CPU, memory, system.

Every function takes the root of the file system, so that a laid-out tree can stand in for a board.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.readings.clocks import read_hertz, read_policies, read_rated_hertz
from edgeticket.device_runner.readings.heat import read_temperature_limits
from edgeticket.device_runner.readings.source import read_text
from edgeticket.device_runner.unavailable import Unavailable

# CPU flags that decide which int8 kernels a runtime takes.
INT8_INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512_vnni", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve", "neon"),
)


@dataclass(frozen=True)
class Machine:
    """One machine; nothing in it changes while it is running."""

    board: str | Unavailable
    cpu: str | Unavailable
    architecture: str
    cores: int
    int8_instructions: tuple[str, ...] | Unavailable
    memory_bytes: int | Unavailable
    max_frequency_hz: Mapping[str, int] | Unavailable
    rated_frequency_hz: Mapping[str, int] | Unavailable  # that it can hold; see `read_rated_hertz`
    frequency_driver: Mapping[str, str] | Unavailable
    temperature_limit_c: Mapping[str, float] | Unavailable  # at which it slows down
    kernel: str
    os: str | Unavailable
    jetson: str | Unavailable
    emulated: str | Unavailable  # by what, on a board that is none: its times mean nothing


def describe_machine(root: Path = Path("/")) -> Machine:
    """Look at ``root`` and the running system; missing parts are ``Unavailable``."""
    cpuinfo = read_text(root / "proc/cpuinfo")
    board = read_board(root)
    return Machine(
        board=board,
        cpu=cpu_model(cpuinfo),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        int8_instructions=int8_instructions(cpuinfo),
        memory_bytes=read_memory(root),
        max_frequency_hz=read_hertz(root, "cpuinfo_max_freq"),
        rated_frequency_hz=read_rated_hertz(root),
        frequency_driver=read_policies(root, "scaling_driver"),
        temperature_limit_c=read_temperature_limits(root, board=board),
        kernel=platform.release(),
        os=read_os(root),
        jetson=read_jetson(root),
        emulated=read_emulated(root, architecture=platform.machine()),
    )


def read_board(root: Path) -> str | Unavailable:
    """Model by the device tree (ARM boards), else by the firmware (PCs)."""
    places = (
        "sys/firmware/devicetree/base/model",
        "proc/device-tree/model",
        "sys/class/dmi/id/product_name",
    )
    for place in places:
        text = read_text(root / place)
        if isinstance(text, str):
            return text
    return Unavailable(f"no board model in {', '.join(str(root / place) for place in places)}")


def cpu_model(cpuinfo: str | Unavailable) -> str | Unavailable:
    """Text of /proc/cpuinfo -> name of the first CPU; ARM kernels give only its numbers."""
    if isinstance(cpuinfo, Unavailable):
        return cpuinfo
    for key in ("model name", "Model name", "Hardware"):
        name = _field(cpuinfo, key)
        if name is not None:
            return name
    implementer, part = _field(cpuinfo, "CPU implementer"), _field(cpuinfo, "CPU part")
    if implementer is not None and part is not None:
        name = ARM_PARTS.get((implementer, part))
        return name or f"CPU implementer {implementer} part {part}"
    return Unavailable("/proc/cpuinfo names no CPU model")


def int8_instructions(cpuinfo: str | Unavailable) -> tuple[str, ...] | Unavailable:
    """Text of /proc/cpuinfo -> flags of the first CPU that matter for int8."""
    if isinstance(cpuinfo, Unavailable):
        return cpuinfo
    for key in ("flags", "Features"):
        flags = _field(cpuinfo, key)
        if flags is not None:
            present = set(flags.split())
            return tuple(flag for flag in INT8_INSTRUCTIONS if flag in present)
    return Unavailable("/proc/cpuinfo lists no CPU flags")


def read_memory(root: Path) -> int | Unavailable:
    """Bytes of main memory."""
    text = read_text(root / "proc/meminfo")
    if isinstance(text, Unavailable):
        return text
    found = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    if found is None:
        return Unavailable(f"{root / 'proc/meminfo'} has no MemTotal")
    return int(found[1]) * 1024


def read_os(root: Path) -> str | Unavailable:
    """Name of the distribution, e.g. ``Debian GNU/Linux 12 (bookworm)``."""
    text = read_text(root / "etc/os-release")
    if isinstance(text, Unavailable):
        return text
    found = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]+)", text, re.MULTILINE)
    return found[1] if found else Unavailable(f"{root / 'etc/os-release'} has no PRETTY_NAME")


def read_jetson(root: Path) -> str | Unavailable:
    """NVIDIA's release line on a Jetson, e.g. ``# R36 (release), REVISION: 4.0, ...``."""
    text = read_text(root / "etc/nv_tegra_release")
    return text if isinstance(text, Unavailable) else text.splitlines()[0]


def read_emulated(root: Path, *, architecture: str) -> str | Unavailable:
    """What emulates this machine's instructions, as QEMU's user mode does; Unavailable: nothing.

    Either it says so in /etc/edgeticket-emulated, or programs for one architecture run on a
    kernel of another, which tells its own since Linux 6.1.
    """
    mark = read_text(root / "etc/edgeticket-emulated")
    if isinstance(mark, str):
        return mark
    kernel = read_text(root / "proc/sys/kernel/arch")
    if isinstance(kernel, str) and (kernel in PC) != (architecture in PC):
        return f"{architecture} programs on a kernel for {kernel}"
    return Unavailable("no emulation seen")


def _field(cpuinfo: str, key: str) -> str | None:
    found = re.search(rf"^{re.escape(key)}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else None


PC = ("x86_64", "i386", "i486", "i586", "i686")  # one kernel runs programs for all of them

# Main ID register numbers (Arm's technical reference manuals) of the CPUs of common boards.
ARM_PARTS: Mapping[tuple[str, str], str] = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x004"): "Carmel",
}
