"""Wheels for another machine, fetched by this one's pip from the index that the user has set."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.plan import Facts, Step
from edgeticket.pipeline.devices.spawned import Spawned

OLDEST_GLIBC = 17  # manylinux_2_17, also called manylinux2014
HERE = Spawned(address="this machine", home="", python=sys.executable, environment=None)


def platform_tags(architecture: str, libc: tuple[str, str]) -> list[str]:
    """Every wheel platform that fits a system: pip takes those alone that it is told (PEP 600)."""
    name, number = libc
    if name != "glibc":
        return [f"musllinux_1_{minor}_{architecture}" for minor in (1, 2)]
    minor = int(number.split(".")[1])
    tags = [f"manylinux_2_{m}_{architecture}" for m in range(minor, OLDEST_GLIBC - 1, -1)]
    return [*tags, f"manylinux2014_{architecture}", f"linux_{architecture}"]


async def download(
    steps: Sequence[Step], folder: Path, *, facts: Facts, patience: Patience
) -> tuple[Step, ...]:
    """Fetch the first alternative of each step that exists for a device into ``folder``.

    Returns:
        the steps, each with the one alternative that was found, or as it was if there is none.

    Raises:
        InputError: pip cannot be used here, or reaches no index.
    """
    major, minor, _ = facts.version
    options = [
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", f"{major}.{minor}"),
        *("--abi", f"cp{major}{minor}", "--abi", "abi3", "--abi", "none"),
    ]
    for tag in platform_tags(facts.architecture, facts.libc):
        options += ["--platform", tag]

    async def exist(words: Sequence[str]) -> bool:
        local = [str(folder / word) if (folder / word).exists() else word for word in words]
        return await _pip_download([*options, *local], folder, patience=patience)

    best = tuple(dataclasses.replace(step, alternatives=step.alternatives[:1]) for step in steps)
    if await exist([word for step in best for word in step.alternatives[0]]):
        return best  # in one call of pip
    found = []
    for step in steps:
        for words in step.alternatives:
            if await exist(words):
                step = dataclasses.replace(step, alternatives=(words,))
                break
        found.append(step)
    return tuple(found)


async def fetch_pip(folder: Path, *, patience: Patience) -> None:
    """A wheel of pip into ``folder``: this Python's own, else from the index."""
    ensurepip = find_spec("ensurepip")  # Debian splits it off
    bundled = Path(ensurepip.origin).parent / "_bundled" if ensurepip and ensurepip.origin else None
    own = sorted(bundled.glob("pip-*.whl")) if bundled else []
    if own:
        shutil.copy(own[-1], folder)
    elif not await _pip_download(["--no-deps", "pip"], folder, patience=patience):
        raise InputError("this machine has no wheel of pip for the device, and no index has one")


async def _pip_download(arguments: Sequence[str], folder: Path, *, patience: Patience) -> bool:
    """Whether there are such wheels; they are in ``folder`` then.

    Raises:
        InputError: another failure than that there are none.
    """
    common = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    argv = [sys.executable, "-m", "pip", "download", *common, "--dest", str(folder), *arguments]
    done = await HERE.run(argv, timeout_s=patience.setup_s)
    if done.exit_code == 0:
        return True
    said = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
    if "Retrying (" not in said and ("No matching" in said or "conflict" in said):
        return False
    raise InputError(
        "this machine's pip cannot fetch wheels for the device: "
        + clean_line((said.strip().splitlines() or ["it says nothing"])[-1])
    )
