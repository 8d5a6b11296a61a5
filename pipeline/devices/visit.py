"""Prepare one device, look whether it can be trusted, or leave it as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.terminal import table, words
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Connection, Patience
from edgeticket.pipeline.devices.environment import Ready, look, set_up
from edgeticket.pipeline.devices.fleet_run import DeviceLines
from edgeticket.pipeline.devices.link import open_link
from edgeticket.pipeline.devices.plan import Facts
from edgeticket.pipeline.devices.remote_calls import call

TIGHT_BYTES = 300 * 2**20  # free disk that set-up and a bundle may want


async def set_up_device(
    target: str, *, offline: bool, patience: Patience, console: Console
) -> None:
    """Make the environment, and say what it has and lacks.

    Raises:
        InputError: it cannot be reached, or no environment can be made there.
    """
    with DeviceLines([target], console) as lines:

        def tell(line: str) -> None:
            lines.show(target, line)

        async def step(connection: Connection) -> Ready | None:
            if connection.environment is not None:
                return None
            return await set_up(connection, offline=offline, patience=patience, tell=tell)

        async with open_link(target, patience=patience, tell=tell) as link:
            ready = await link.do(step, heal=True)
    if ready is None:
        console.print(f"{target} needs no set-up: it measures with this very Python")
        return
    done = "is set up" if ready.changed else "was set up already"
    console.print(f"{target} {done} ({ready.facts})", highlight=False, soft_wrap=True)
    for lack in ready.lacks:
        console.print(f"it lacks {lack}", highlight=False, soft_wrap=True)
    if ready.facts.gpu is not None:
        console.print(
            f"it uses the ONNX Runtime {ready.facts.gpu} with GPU that is installed there"
        )


async def check_device(target: str, *, patience: Patience, console: Console) -> bool:
    """One screen about a device -> whether measurements there can be trusted now.

    Raises:
        InputError: it cannot be reached, or is not set up.
    """
    async with connect(target, patience=patience) as connection:
        facts = await look(connection, patience=patience)
        found = await _ask_runner(connection, facts, patience=patience)
    for title in ("machine", "now", "runtimes"):
        console.print(title, style="bold")
        rows = [(f"  {name}", words(value)) for name, value in found[title].items()]
        console.print(table(rows), highlight=False, soft_wrap=True)
    console.print("measuring there", style="bold")
    findings = [*found["validity"]["reasons"], *found["validity"]["warnings"]]
    lines = [f"{finding['found']}: {finding['cure']}" for finding in findings]
    if facts.free_bytes < TIGHT_BYTES:
        lines.append(f"{facts.free_bytes / 1e6:.0f} MB of disk are free: make room")
    for line in lines or ["nothing speaks against it now"]:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    return not found["validity"]["reasons"]


async def _ask_runner(
    connection: Connection, facts: Facts, *, patience: Patience
) -> Mapping[str, Any]:
    """What `device-runner info --json` says there."""
    python = connection.environment
    if python is None and facts.environment is not None:
        python = facts.environment["python"]
    if python is None:
        raise InputError(
            f"{connection.address} is not set up: `edgeticket device setup {connection.address}`"
        )
    argv = [python, "-m", "edgeticket.device_runner", "info", "--json"]
    done = await connection.run(argv, timeout_s=patience.step_s)
    if done.exit_code != 0:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise InputError(f"{connection.address}: its runner cannot tell ({last}): set it up again")
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


async def clean_device(target: str, *, patience: Patience, console: Console) -> None:
    """Remove all that edgeticket left there, and nothing else.

    Raises:
        InputError: it cannot be reached, or somebody measures there.
    """
    async with connect(target, patience=patience) as connection:
        left, _ = await call(connection, "remove", patience=patience)
        home = connection.home
    kept = f"; {', '.join(left)} in {home} is not ours and stays" if left else ""
    console.print(f"{target}: nothing of edgeticket is left there{kept}", highlight=False)
