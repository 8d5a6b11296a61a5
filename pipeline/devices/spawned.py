"""Programs on this machine as if it were a device: the target ``local``, and emulated boards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import (
    Finished,
    LinkError,
    Patience,
    Sign,
    SlowError,
    Tell,
    converse,
)

HOME = "~/.edgeticket"


@dataclass(frozen=True)
class Spawned:
    """A `Connection` whose programs are processes of this machine.

    ``prefix`` goes before every command line: what enters an emulated board, for one.
    ``variables`` are added to the environment.
    """

    address: str
    home: str
    python: str
    environment: str | None
    offline: bool = False
    prefix: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

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
        """As `Connection.run`. The program gets a process group, which is killed as a whole."""
        try:
            process = await _start([*self.prefix, *argv], {**os.environ, **self.variables})
        except OSError as error:
            raise LinkError(f"{self.address}: cannot start {argv[0]}: {error.strerror}") from None
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await converse(
                    process.stdin, process.stdout, process.stderr,
                    stdin=stdin, hold_stdin=hold_stdin, tell=tell, sign=sign,
                )  # fmt: skip
                return Finished(await process.wait(), out, err)
        except TimeoutError:
            raise SlowError(
                f"{self.address}: {os.path.basename(argv[0])} took longer than {timeout_s:g} s "
                "and was stopped"
            ) from None
        finally:
            process.stdin.close()
            if process.returncode is None:
                await _kill(process)


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start a program in a process group of its own.

    Who is cancelled meanwhile waits until it has started, and kills it. Cancelled itself, asyncio
    would kill the first process alone, and wait for ever on pipes that its children hold open.
    """
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _kill(await starting)
        raise


async def _kill(process: Process) -> None:
    """Kill it with all that it has started, and wait for its end.

    What it has printed is read: asyncio's wait ends only with the pipes, and full ones never end.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


@contextlib.asynccontextmanager
async def connect_local(address: str, *, patience: Patience, tell: Tell) -> AsyncIterator[Spawned]:
    """``local``, or ``local:FOLDER`` to keep what is sent in another folder than ~/.edgeticket.

    This Python has the runner and its runtimes already, so nothing has to be set up.

    Raises:
        InputError: the folder is not absolute.
    """
    home = address.removeprefix("local").removeprefix(":") or HOME
    if not home.startswith(("/", "~")):
        raise InputError(f"{address}: the folder must be absolute, as in local:/var/tmp/{home}")
    yield Spawned(address=address, home=home, python=sys.executable, environment=sys.executable)
