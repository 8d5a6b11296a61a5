"""Programs on this machine as if it were a device: the target ``local``, and emulated boards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from device_runner.errors import InputError
from pipeline.devices.connection import (
    Finished,
    LinkError,
    Patience,
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
    ) -> Finished:
        """As `Connection.run`. The program gets a process group, which is killed as a whole."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self.prefix, *argv,
                stdin=pipe, stdout=pipe, stderr=pipe,
                env={**os.environ, **self.variables}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise LinkError(f"{self.address}: cannot start {argv[0]}: {error.strerror}") from None
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await converse(
                    process.stdin, process.stdout, process.stderr,
                    stdin=stdin, hold_stdin=hold_stdin, tell=tell,
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
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


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
