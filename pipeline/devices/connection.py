"""A link to a device: what every way of reaching one can do, and how it fails.

A target needs no more than `Connection.run`. Set-up, transfer and measurement are written once,
over that (`pipeline.devices.remote_calls`), so they are the same on this machine, over SSH and on
an emulated board.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeticket.pipeline.errors import DeviceError

OUTPUT_LIMIT_BYTES = 512 * 2**20  # more than any report; a device must not fill our memory
_PIECE_BYTES = 2**16

Tell = Callable[[str], None]
"""Told each line that a program on the device writes to standard error, as it comes."""


class LinkError(DeviceError):
    """The link broke, or could not be made; what was sent so far stays on the device."""


class SlowError(DeviceError):
    """A program on the device did not end in the time that it was given, and was stopped."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds. Every wait has an end."""

    connect_s: float = 20.0  # until the link stands: TCP, keys, login
    silence_s: float = 30.0  # without any sign of the other side: the link counts as lost
    heal_s: float = 60.0  # a link that broke in a transfer is tried again for so long
    step_s: float = 120.0  # a small errand, such as hashing the files that lie there
    setup_s: float = 1800.0  # an environment is made, packages are fetched
    bench_s: float = 3600.0  # one device measures
    lock_s: float = 600.0  # another measurement on the same device goes first


@dataclass(frozen=True)
class Finished:
    """A program ended by itself; ``exit_code`` is negative when a signal ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Connection(Protocol):
    """An open link to one device. All paths are the device's."""

    @property
    def address(self) -> str:
        """The target as it was given, for sentences; never holds a secret."""

    @property
    def home(self) -> str:
        """The folder that holds all that edgeticket leaves there; ``~`` is the user's own."""

    @property
    def python(self) -> str:
        """The Python that runs errands there, 3.6 or newer, a command or a path."""

    @property
    def offline(self) -> bool:
        """It reaches no package index, so that trying costs nothing but time."""

    @property
    def environment(self) -> str | None:
        """A Python that can measure as it is; None: set-up makes one there."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        hold_stdin: bool = False,
        tell: Tell | None = None,
    ) -> Finished:
        """Run a program; an exit code other than 0 is an answer, not an error.

        Args:
            argv: program and arguments, passed on as they are, whatever shell is there.
            timeout_s: the program is killed when it takes longer.
            stdin: what it can read; pieces are taken one by one as they are sent.
            hold_stdin: keep its standard input open after that, so that the program sees it end
                only when it is time to stop: we are gone, or the link is.
            tell: called with each line of its standard error, as it comes.

        Raises:
            LinkError: the link broke before the program had ended.
            SlowError: it took longer than ``timeout_s``.
        """


class Reader(Protocol):
    """What asyncio and asyncssh have in common for a program's output."""

    async def read(self, n: int, /) -> bytes: ...


class Writer(Protocol):
    """What asyncio and asyncssh have in common for a program's input."""

    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def write_eof(self) -> None: ...


async def converse(
    writer: Writer,
    stdout: Reader,
    stderr: Reader,
    *,
    stdin: bytes | Iterable[bytes],
    hold_stdin: bool,
    tell: Tell | None,
) -> tuple[bytes, bytes]:
    """Feed a running program and read it to its end -> stdout, stderr.

    Raises:
        DeviceError: it printed more than `OUTPUT_LIMIT_BYTES`.
    """
    pieces = [stdin] if isinstance(stdin, bytes) else stdin
    feeding = asyncio.create_task(_feed(writer, pieces, hold_stdin=hold_stdin))
    telling = asyncio.create_task(_collect(stderr, tell))
    try:
        out = await _collect(stdout, None)
        return out, await telling
    finally:  # nobody reads on
        for task in (feeding, telling):
            task.cancel()
        await asyncio.gather(feeding, telling, return_exceptions=True)


async def _feed(writer: Writer, pieces: Iterable[bytes], *, hold_stdin: bool) -> None:
    # A program that ends without having read everything says why itself.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if not hold_stdin:
            writer.write_eof()


async def _collect(reader: Reader, tell: Tell | None) -> bytes:
    found = bytearray()
    line = b""  # what came after the last whole line
    while piece := await reader.read(_PIECE_BYTES):
        found += piece
        if len(found) > OUTPUT_LIMIT_BYTES:
            raise DeviceError(f"a program on the device printed over {OUTPUT_LIMIT_BYTES} bytes")
        if tell is not None:
            *lines, line = (line + piece).split(b"\n")
            for told in lines:
                tell(told.decode("utf-8", "replace"))
    return bytes(found)
