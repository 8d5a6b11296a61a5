"""What this machine must have before it can emulate a board."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from edgeticket.device_runner.errors import InputError

BINFMT = Path("/proc/sys/fs/binfmt_misc")
PACKAGES = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")  # signs what is downloaded


def check_needs() -> None:
    """Come back only if this machine can build and run an arm64 user space.

    Raises:
        InputError: one sentence that names what is missing and how to get it.
    """
    wrong = _wrong_machine() or _missing_packages() or _missing_binfmt()
    if wrong is not None:
        raise InputError(f"emulated boards cannot run here: {wrong}")


def _wrong_machine() -> str | None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return (
            f"this is {system} on {machine}, and they need Linux on x86_64; measure on this "
            "machine with the target `local`"
        )
    if os.geteuid() != 0:
        return "mounting an arm64 system needs root; run the same command with sudo"
    return None


def _missing_packages() -> str | None:
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not KEYRING.is_file():
        missing.append("debian-archive-keyring")
    if not missing:
        return None
    names = " ".join(missing)
    return f"missing: {', '.join(missing)}; get them with `apt-get install {names}`"


def _missing_binfmt() -> str | None:
    """Whether the kernel hands arm64 programs to QEMU, in chroots too (flag F)."""
    entry = BINFMT / "qemu-aarch64"
    try:
        lines = entry.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        mounted = (BINFMT / "register").exists()
        mount = "" if mounted else f"mount -t binfmt_misc binfmt_misc {BINFMT} && "
        return (
            "the kernel does not know yet that QEMU runs arm64 programs (binfmt_misc); tell it "
            f"with `{mount}cat /usr/lib/binfmt.d/qemu-aarch64.conf > {BINFMT}/register`"
        )
    flags = next((line.split()[-1] for line in lines if line.startswith("flags:")), "")
    if "enabled" not in lines:
        return f"QEMU for arm64 programs is switched off; switch it on with `echo 1 > {entry}`"
    if "F" not in flags:
        return (
            f"{entry} has no flag F, so QEMU cannot be found from inside a board; replace it "
            f"with `echo -1 > {entry} && cat /usr/lib/binfmt.d/qemu-aarch64.conf > "
            f"{BINFMT}/register`"
        )
    return None
