"""User spaces for tests, and the wheels that set-up needs on them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pipeline.devices.connection import Patience
from pipeline.devices.emulated.user_space import ensure_user_space
from pipeline.devices.plan import Facts, plan
from pipeline.devices.runner_wheel import build_runner_wheel
from pipeline.devices.wheels import download

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
