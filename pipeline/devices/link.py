"""A connection that is made again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from edgeticket.pipeline.devices import connect
from edgeticket.pipeline.devices.connection import Connection, LinkError, Patience, Tell

Result = TypeVar("Result")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0


class Link:
    """The way to one device for the time of an `open_link` block."""

    def __init__(self, address: str, *, patience: Patience, tell: Tell) -> None:
        self._address = address
        self._patience = patience
        self._tell = tell
        self._open = contextlib.AsyncExitStack()
        self._connection: Connection | None = None

    async def do(self, step: Callable[[Connection], Awaitable[Result]], *, heal: bool) -> Result:
        """Do a step over the connection, which is made now if there is none.

        Args:
            step: what to do; begun anew after the link broke.
            heal: try again for ``patience.heal_s`` when a link that stood breaks. False for what
                must not be done twice without asking.

        Raises:
            LinkError: the device cannot be reached, or not any more.
        """
        pause, end = FIRST_PAUSE_S, 0.0
        stood = self._connection is not None
        while True:
            begun = time.monotonic()
            try:
                if self._connection is None:
                    opening = connect(self._address, patience=self._patience, tell=self._tell)
                    self._connection = await self._open.enter_async_context(opening)
                    stood = True
                return await step(self._connection)
            except LinkError:
                await self.close()
                now = time.monotonic()
                if not end or now - begun > self._patience.heal_s:  # it had stood for long
                    pause, end = FIRST_PAUSE_S, now + self._patience.heal_s
                if not heal or not stood or now + pause > end:
                    raise
                self._tell("the link broke; trying again")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Let go of the connection."""
        self._connection = None
        await self._open.aclose()
        self._open = contextlib.AsyncExitStack()


@contextlib.asynccontextmanager
async def open_link(address: str, *, patience: Patience, tell: Tell) -> AsyncIterator[Link]:
    """A link to a target, closed at the end of the block."""
    link = Link(address, patience=patience, tell=tell)
    try:
        yield link
    finally:
        await link.close()
