"""The CPUs that can stand in for a board's, as QEMU knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cpu:
    """One CPU: QEMU's name for it, and what Linux says about the real one."""

    name: str
    boards: str  # where it is found
    features: str  # Linux's names of the HWCAP bits that QEMU sets for it
    part: str
    variant: str
    revision: int


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV82 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)


def format_cpuinfo(cpu: Cpu, *, cores: int) -> str:
    """The text of /proc/cpuinfo on a board with this CPU.

    QEMU's user mode shows the host's own; what runtimes find there must be what the emulated CPU
    has, or they crash.
    """
    entries = [
        f"processor\t: {core}\n"
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {cpu.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {cpu.variant}\n"
        f"CPU part\t: {cpu.part}\n"
        f"CPU revision\t: {cpu.revision}\n"
        for core in range(cores)
    ]
    return "\n".join(entries)


# Those whose int8 results under QEMU were seen to equal a real machine's. QEMU's "max" is not
# among them: it has SVE and SME, and LiteRT's kernels for those give wrong results there.
CPUS: Mapping[str, Cpu] = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-a53", "Raspberry Pi 3, Zero 2 W", _ARMV8, "0xd03", "0x0", 4),
        Cpu("cortex-a72", "Raspberry Pi 4", _ARMV8, "0xd08", "0x0", 3),
        Cpu("cortex-a76", "Raspberry Pi 5", _ARMV82, "0xd0b", "0x4", 1),
    )
}
