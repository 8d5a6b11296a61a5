"""Set-up: a virtual environment on the device, with the runner and what runtimes exist there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Connection, Patience, Tell
from edgeticket.pipeline.devices.plan import Facts, Step, plan
from edgeticket.pipeline.devices.remote_calls import call
from edgeticket.pipeline.devices.runner_wheel import build_runner_wheel
from edgeticket.pipeline.devices.transfer import content_of, push
from edgeticket.pipeline.devices.wheels import download, fetch_pip

PIP_OPTIONS = (
    *("--no-input", "--disable-pip-version-check", "--no-warn-script-location"),
    "--only-binary=:all:",  # building one of these on a board takes hours, and then fails
    "--no-compile",  # what is imported gets its bytecode then; most of it never is
    *("--retries", "1", "--timeout", "15"),
)


@dataclass(frozen=True)
class Ready:
    """An environment that can measure: its Python, the runtimes that it lacks, with the reasons."""

    python: str
    lacks: tuple[str, ...]
    changed: bool
    facts: Facts


async def look(connection: Connection, *, patience: Patience, tell: Tell) -> Facts:
    """What is there; nothing is changed."""
    found, _ = await call(connection, "look", patience=patience, tell=tell)
    found["version"], found["libc"] = tuple(found["version"]), tuple(found["libc"])
    return Facts(**found)


async def set_up(connection: Connection, *, offline: bool, patience: Patience, tell: Tell) -> Ready:
    """Make the environment unless it is there as it should be; the second time changes nothing.

    Args:
        connection: the device.
        offline: this machine fetches the wheels; also what happens when the device cannot.
        patience: how long to wait for what.
        tell: hears what is going on.

    Raises:
        InputError: no environment can be made there; the one before stays as it was.
    """
    tell("looking around")
    facts = await look(connection, patience=patience, tell=tell)
    name, wheel = build_runner_wheel()
    wanted = plan(facts, name, place=connection.address)
    identity = json.dumps([[s.alternatives for s in wanted], facts.executable, facts.version])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    if facts.environment is not None and facts.environment["key"] == key:
        return _ready(facts.environment, facts, changed=False)
    note: Mapping[str, Any] = {"unreachable": "it was asked to be offline"}
    with tempfile.TemporaryDirectory(prefix="edgeticket-") as scratch:
        folder = Path(scratch)
        (folder / name).write_bytes(wheel)
        if facts.pip is None:
            await fetch_pip(folder, patience=patience)
        for fetched in (False, True):
            if not fetched and (offline or connection.offline):
                continue
            if fetched:
                tell("fetching wheels here")
                wanted = await download(wanted, folder, facts=facts, patience=patience)
            note = await _make(
                connection, key, wanted, folder, fetched=fetched, facts=facts,
                patience=patience, tell=tell,
            )  # fmt: skip
            if "unreachable" not in note:
                return _ready(note, facts, changed=True)
            tell("it reaches no package index")
    raise InputError(f"{connection.address}: nothing can be installed ({note['unreachable']})")


async def _make(
    connection: Connection,
    key: str,
    steps: Sequence[Step],
    folder: Path,
    *,
    fetched: bool,
    facts: Facts,
    patience: Patience,
    tell: Tell,
) -> Mapping[str, Any]:
    """Bring the wheels in ``folder`` there, and install."""
    wheels = {file.name: content_of(file) for file in sorted(folder.glob("*.whl"))}
    place = await push(connection, f"wheels-{key}", wheels, patience=patience, tell=tell)
    pip = facts.pip or next(f"{place}/{name}" for name in wheels if name.startswith("pip-"))
    note, _ = await call(
        connection,
        "make_environment",
        key=key,
        python=facts.executable,
        system_packages=facts.gpu is not None,
        pip=pip,
        wheels=place,
        options=[*PIP_OPTIONS, *(("--no-index", "--find-links", place) if fetched else ())],
        steps=[
            {
                "name": step.name,
                "needed": step.needed,
                "alternatives": [
                    [f"{place}/{word}" if word in wheels else word for word in words]
                    for words in step.alternatives
                ],
            }
            for step in steps
        ],
        timeout_s=patience.setup_s,
        patience=patience,
        tell=tell,
    )
    found: Mapping[str, Any] = note
    return found


def _ready(note: Mapping[str, Any], facts: Facts, *, changed: bool) -> Ready:
    return Ready(note["python"], tuple(note["lacks"]), changed, facts)
