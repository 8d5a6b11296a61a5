"""Boards that one can have before one has them: real runner, real arm64 wheels, QEMU's CPU.

``emulated:cortex-a72`` says whether int8 on ARM gives the same answers as here. It says nothing
about speed: every time taken there is emulated, and the reports say so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Patience, Tell
from edgeticket.pipeline.devices.emulated.board import switch_on
from edgeticket.pipeline.devices.emulated.cpus import CPUS, Cpu
from edgeticket.pipeline.devices.emulated.needs import check_needs
from edgeticket.pipeline.devices.emulated.user_space import SUITES, cache_folder, ensure_user_space
from edgeticket.pipeline.devices.spawned import HOME, Spawned


@contextlib.asynccontextmanager
async def connect_emulated(
    address: str, *, patience: Patience, tell: Tell
) -> AsyncIterator[Spawned]:
    """``emulated:CPU``, or ``emulated:CPU:SUITE`` for another release of Debian than bookworm.

    What is sent to a board stays on it between connections.

    Raises:
        InputError: unknown CPU or release, or this machine cannot emulate boards.
    """
    cpu, suite = parse_address(address)
    check_needs()
    root = await asyncio.to_thread(ensure_user_space, suite, say=tell)
    state = cache_folder() / "boards" / f"{cpu.name}-{suite}"
    with switch_on(cpu, root=root, state=state) as board:
        yield Spawned(
            address=address,
            home=HOME,
            python="/usr/bin/python3",
            environment=None,
            offline=True,
            prefix=board.prefix(),
        )


def parse_address(address: str) -> tuple[Cpu, str]:
    """``emulated:CPU`` or ``emulated:CPU:SUITE`` -> both."""
    name, _, suite = address.removeprefix("emulated").removeprefix(":").partition(":")
    if name not in CPUS:
        raise InputError(
            f"{address!r} names no CPU that can be emulated (known: {', '.join(CPUS)})"
        )
    if suite and suite not in SUITES:
        raise InputError(f"{address!r} names no known release (known: {', '.join(SUITES)})")
    return CPUS[name], suite or SUITES[0]
