"""An emulated board as such: what it is, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from network import ROOT, wait_until

from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Finished, Patience, SlowError
from edgeticket.pipeline.devices.emulated.cpus import CPUS

pytestmark = [pytest.mark.devices, pytest.mark.timeout(900)]

# Names of HWCAP bits, from Linux's arch/arm64/include/uapi/asm/hwcap.h.
HWCAPS = (
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp",
    "asimdhp", "cpuid", "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4",
    "asimddp", "sha512", "sve",
)  # fmt: skip
READ_HWCAP = "import ctypes; print(ctypes.CDLL(None).getauxval(16))"
SLEEPER = """
import asyncio, sys
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Patience
async def main():
    async with connect(sys.argv[1], patience=Patience()) as board:
        print("on", flush=True)
        await board.run(["sleep", "4711"], timeout_s=600)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETICKET_CACHE", str(cache))


def run(cpu: str, *argv: str, timeout_s: float = 120, stdin: bytes = b"") -> Finished:
    async def go() -> Finished:
        async with connect(f"emulated:{cpu}", patience=Patience()) as board:
            return await board.run(argv, timeout_s=timeout_s, stdin=stdin)

    return asyncio.run(go())


def sleepers() -> list[Path]:
    """Processes of a board that sleep, seen from this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"\0sleep\0004711" in process.read_bytes():
                found.append(process)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", CPUS)
def test_the_cpu_has_what_its_cpuinfo_says(name: str) -> None:
    """Runtimes choose kernels by both; a difference would be an illegal instruction."""
    done = run(name, "python3", "-c", READ_HWCAP)
    assert done.exit_code == 0, done.stderr
    bits = int(done.stdout)
    claimed = set(CPUS[name].features.split())
    assert {f for i, f in enumerate(HWCAPS) if bits >> i & 1} | {"evtstrm", "cpuid"} == claimed


def test_it_is_a_board_without_network_that_keeps_its_home(cache: Path) -> None:
    code = """
    uname -m; id -un; pwd; cat
    echo kept > kept
    (echo spoiled > /etc/passwd) 2>/dev/null && echo writable
    (exec 3<>/dev/tcp/1.1.1.1/80) 2>/dev/null && echo online
    true
    """
    done = run("cortex-a53", "bash", "-c", code, stdin=b"from here\n")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.decode().split("\n") == ["aarch64", "pi", "/home/pi", "from here", ""]
    assert run("cortex-a53", "cat", "kept").stdout == b"kept\n"
    mine = f"/proc/{os.getpid()}/mounts"
    assert str(cache.resolve()) not in Path(mine).read_text(), "a mount came out"


def test_a_program_that_takes_too_long_is_killed() -> None:
    with pytest.raises(SlowError):
        run("cortex-a53", "sleep", "4711", timeout_s=5)
    wait_until(lambda: not sleepers(), limit_s=10, what="the program to be gone")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_us_ends_the_board(how: signal.Signals, cache: Path) -> None:
    ours = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, "emulated:cortex-a53"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "EDGETICKET_CACHE": str(cache)},
        # As on a terminal: shells that start jobs in the background ignore Ctrl-C for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with ours:
        try:
            assert ours.stdout is not None
            assert ours.stdout.readline() == b"on\n"
            wait_until(lambda: bool(sleepers()), limit_s=60, what="the program to run")
            ours.send_signal(how)
            ours.wait(60)
        finally:
            ours.kill()
    wait_until(lambda: not sleepers(), limit_s=20, what="the board to be off")
