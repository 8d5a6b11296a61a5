"""User spaces for tests, and the wheels that set-up needs on them.

As a program it fetches and builds all of that, or says in one sentence why it cannot, and
exits with 3.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.emulated.needs import check_needs
from edgeticket.pipeline.devices.emulated.user_space import ensure_user_space
from edgeticket.pipeline.devices.plan import Facts, Step, plan
from edgeticket.pipeline.devices.runner_wheel import build_runner_wheel
from edgeticket.pipeline.devices.wheels import download

PYTHONS = {"bullseye": (3, 9), "bookworm": (3, 11), "trixie": (3, 13)}
GLIBC = {"bullseye": "2.31", "bookworm": "2.36", "trixie": "2.41"}


def user_space_of(suite: str) -> Path:
    return ensure_user_space(suite, say=lambda line: print(line, file=sys.stderr))


def facts_of(suite: str) -> Facts:
    """What `look` sees on a board with this release of Debian."""
    major, minor = PYTHONS[suite]
    return Facts(
        executable="/usr/bin/python3", version=(major, minor, 0), bits=64, machine="aarch64",
        libc=("glibc", GLIBC[suite]), venv=True, pip=None, gpu=None, free_bytes=0, environment=None,
    )  # fmt: skip


def fetch_wheels(suite: str, folder: Path) -> Path:
    """All that set-up needs on such a board, as this machine's pip finds it."""
    facts = facts_of(suite)
    name, wheel = build_runner_wheel()
    (folder / name).write_bytes(wheel)
    steps = plan(facts, name, place=suite)
    asyncio.run(download(steps, folder, facts=facts, patience=Patience()))
    return folder


def fetch_library(package: str, name: str, scratch: Path) -> bytes:
    """A shared library out of a Debian package for such a board."""
    subprocess.run(
        ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", "--mode=root",
         f"--include={package}", "--dpkgopt=path-exclude=/usr/share/*",
         "--setup-hook=sed -i /security/d $1/etc/apt/sources.list", "bookworm", str(scratch)],
        check=True, capture_output=True,
    )  # fmt: skip
    (library,) = scratch.rglob(name)
    return library.read_bytes()


def fetch_tools(suite: str, requirements: Sequence[str], folder: Path) -> Path:
    """Wheels for such a board that have nothing to do with set-up."""
    folder.mkdir()
    step = Step("tools", True, (tuple(requirements),))
    asyncio.run(download([step], folder, facts=facts_of(suite), patience=Patience()))
    return folder


def prepare() -> None:
    """Raises InputError if this machine cannot be where boards are tested."""
    check_needs()
    for suite in PYTHONS:
        user_space_of(suite)
        with tempfile.TemporaryDirectory() as scratch:
            wheels = fetch_wheels(suite, Path(scratch))
            if not any("aarch64" in wheel.name for wheel in wheels.iterdir()):
                raise InputError("this machine's package index has no wheels for arm64")


if __name__ == "__main__":
    try:
        prepare()
    except InputError as error:
        print(error)
        sys.exit(3)
