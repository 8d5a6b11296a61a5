"""Prepare one device, look whether it can be trusted, or leave it as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.device_runner.terminal import table, words
from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Connection, Patience, Tell
from edgeticket.pipeline.devices.environment import Ready, look, set_up
from edgeticket.pipeline.devices.fleet_run import DeviceLines
from edgeticket.pipeline.devices.link import open_link
from edgeticket.pipeline.devices.plan import Facts
from edgeticket.pipeline.devices.remote_calls import call

MENTIONED = 5  # files that stay
TIGHT_BYTES = 300 * 2**20  # free disk that set-up and a bundle may want


async def set_up_device(
    target: str, *, offline: bool, patience: Patience, console: Console
) -> None:
    """Make the environment, and say what it has and lacks.

    Raises:
        InputError: it cannot be reached, or no environment can be made there.
    """
    with _progress(target, console) as tell:

        async def step(connection: Connection) -> Ready | None:
            if connection.environment is not None:
                await look(connection, patience=patience, tell=tell)  # may its folder be used?
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
    with _progress(target, console) as tell:
        async with connect(target, patience=patience, tell=tell) as connection:
            facts = await look(connection, patience=patience, tell=tell)
            found = await _ask_runner(connection, facts, patience=patience, tell=tell)
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


@contextmanager
def _progress(target: str, console: Console) -> Iterator[Tell]:
    """Where the progress of a single device goes."""
    with DeviceLines([target], console) as lines:
        yield lambda line: lines.show(target, line)


async def _ask_runner(
    connection: Connection, facts: Facts, *, patience: Patience, tell: Tell
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
    done, _ = await call(
        connection, "ask", argv=argv, limit_s=patience.step_s, patience=patience, tell=tell
    )
    try:
        found: Mapping[str, Any] = json.loads(done["output"])
    except ValueError:
        last = clean_line(done["last"].rpartition("\n")[2]) or "no message"
        raise InputError(
            f"{connection.address}: its runner cannot tell ({last}): set it up again"
        ) from None
    return found


async def clean_device(target: str, *, patience: Patience, console: Console) -> None:
    """Remove all that edgeticket left there, and nothing else.

    Raises:
        InputError: it cannot be reached, or somebody measures there.
    """
    with _progress(target, console) as tell:
        async with connect(target, patience=patience, tell=tell) as connection:
            left, _ = await call(connection, "remove", patience=patience, tell=tell)
            home = connection.home
    names = ", ".join(left[:MENTIONED])
    more = f" and {len(left) - MENTIONED} more" if len(left) > MENTIONED else ""
    stays = f"; {names}{more} in {home} is not ours and stays" if left else ""
    console.print(
        f"{target}: nothing of edgeticket is left there{stays}", highlight=False, soft_wrap=True
    )
