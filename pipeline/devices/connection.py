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

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.pipeline.errors import DeviceError

OUTPUT_LIMIT_BYTES = 512 * 2**20  # more than any report; a device must not fill our memory
LATE_S = 5.0  # a program that gives no sign for so long is worth a word
_PIECE_BYTES = 2**16

Tell = Callable[[str], None]
"""Told each line that a program on the device writes to standard error, as it comes."""


class LinkError(DeviceError):
    """The link broke, or could not be made; what was sent so far stays on the device."""


class SlowError(DeviceError):
    """A program on the device did not end in the time that it was given, and was stopped."""


class SilentError(InputError):
    """A program gave no sign that it has started; what came instead of it."""

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        super().__init__("the program gives no sign of life")
        self.stdout = stdout
        self.stderr = stderr


@dataclass(frozen=True)
class Sign:
    """What a program writes to standard output first; until then it is sent nothing.

    ``late`` is called once when it takes long, and after ``wait_s`` it is given up.
    """

    word: bytes
    wait_s: float
    late: Callable[[], None]


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds. Every wait has an end."""

    connect_s: float = 20.0  # until the link stands: TCP, keys, login
    sign_s: float = 60.0  # until a program that was started there gives a sign of life
    silence_s: float = 30.0  # without any sign of the other side: the link counts as lost
    heal_s: float = 60.0  # a link that broke in a transfer is tried again for so long
    step_s: float = 120.0  # a small call, such as hashing the files that lie there
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
        """The Python that answers calls there, 3.6 or newer, a command or a path."""

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
        sign: Sign | None = None,
    ) -> Finished:
        """Run a program; an exit code other than 0 is an answer, not an error.

        Args:
            argv: program and arguments, passed on as they are, whatever shell is there.
            timeout_s: the program is killed when it takes longer.
            stdin: what it can read; pieces are taken one by one as they are sent.
            hold_stdin: keep its standard input open after that, so that the program sees it end
                only when it is time to stop: we are gone, or the link is.
            tell: called with each line of its standard error, as it comes, fit to be shown.
            sign: by which it shows that it has started; None: it need not.

        Raises:
            LinkError: the link broke before the program had ended.
            SlowError: it took longer than ``timeout_s``.
            SilentError: the sign did not come.
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
    sign: Sign | None,
) -> tuple[bytes, bytes]:
    """Feed a running program and read it to its end -> stdout, stderr.

    Raises:
        DeviceError: it printed more than `OUTPUT_LIMIT_BYTES`.
        SilentError: its sign did not come.
    """
    pieces = [stdin] if isinstance(stdin, bytes) else stdin
    out, err, begun = bytearray(), bytearray(), asyncio.Event()
    reading = asyncio.create_task(_collect(stdout, out, None, sign.word if sign else None, begun))
    telling = asyncio.create_task(_collect(stderr, err, tell, None, begun))
    tasks = [reading, telling]
    try:
        if sign is not None and not await _wait(begun, reading, sign):
            raise SilentError(bytes(out), bytes(err))
        tasks.append(asyncio.create_task(_feed(writer, pieces, hold_stdin=hold_stdin)))
        await reading
        await telling
        return bytes(out), bytes(err)
    finally:  # nobody reads on
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(begun: asyncio.Event, reading: asyncio.Task[None], sign: Sign) -> bool:
    """Whether the sign came, or the program ended, which is an answer as well."""
    waiting = asyncio.create_task(begun.wait())
    try:
        soon = min(LATE_S, sign.wait_s)
        for patience_s in (soon, sign.wait_s - soon):
            await asyncio.wait(
                [waiting, reading], timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done() or reading.done():
                return True
            sign.late()
        return False
    finally:
        waiting.cancel()


async def _feed(writer: Writer, pieces: Iterable[bytes], *, hold_stdin: bool) -> None:
    # A program that ends without having read everything says why itself.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if not hold_stdin:
            writer.write_eof()


async def _collect(
    reader: Reader,
    found: bytearray,
    tell: Tell | None,
    word: bytes | None,
    begun: asyncio.Event,
) -> None:
    """Read to the end into ``found``; ``begun`` is set once ``word`` is in it."""
    line = b""  # what came after the last whole line
    while piece := await reader.read(_PIECE_BYTES):
        found += piece
        if len(found) > OUTPUT_LIMIT_BYTES:
            raise DeviceError(f"a program on the device printed over {OUTPUT_LIMIT_BYTES} bytes")
        if word is not None and not begun.is_set():
            new = max(0, len(found) - len(piece) - len(word))
            if found.find(word, new) >= 0:
                begun.set()
        if tell is not None:
            *lines, line = (line + piece).split(b"\n")
            line = line[-_PIECE_BYTES:]
            for whole in lines:
                tell(clean_line(whole))
