"""The target ``ssh://user@host[:port][/folder]``: the user's own SSH set-up, keys alone.

~/.ssh/config with its aliases, jumps and identities, the agent and known_hosts are honoured. A
host key that is not known, or is another than before, ends the matter: the sentence says what to
type. There is no way to give a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from edgeticket.pipeline.devices.host_keys import read_trust, refuse_key
from edgeticket.pipeline.devices.ssh_address import parse_address

if TYPE_CHECKING:
    import asyncssh

SILENT_TRIES = 3


@dataclass(frozen=True)
class Remote:
    """A `Connection` over SSH."""

    address: str
    home: str
    python: str
    environment: str | None
    _session: asyncssh.SSHClientConnection
    offline: bool = False

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
        """As `Connection.run`; the login shell of the user sees one quoted command line."""
        import asyncssh

        try:
            async with asyncio.timeout(timeout_s):
                program: asyncssh.SSHClientProcess[bytes] = await self._session.create_process(
                    shlex.join(argv), encoding=None, request_pty=False
                )
                try:
                    out, err = await converse(
                        program.stdin, program.stdout, program.stderr,
                        stdin=stdin, hold_stdin=hold_stdin, tell=tell, sign=sign,
                    )  # fmt: skip
                    await program.wait_closed()
                finally:
                    program.close()
        except TimeoutError:
            name = os.path.basename(argv[0])
            raise SlowError(
                f"{self.address}: {name} took longer than {timeout_s:g} s and was stopped"
            ) from None
        except (OSError, asyncssh.Error) as error:
            raise LinkError(f"{self.address}: the link broke ({_reason(error)})") from None
        if program.exit_signal is not None:
            return Finished(-1, out, err)
        if program.exit_status is None:
            raise LinkError(
                f"{self.address}: the link broke while {os.path.basename(argv[0])} was running "
                "there: is the device switched on, and was it rebooted?"
            )
        return Finished(program.exit_status, out, err)


@contextlib.asynccontextmanager
async def connect_ssh(address: str, *, patience: Patience, tell: Tell) -> AsyncIterator[Remote]:
    """Log in; see `pipeline.devices.connect`.

    Raises:
        InputError: no such form of target, no key fits, or the host key is not the known one.
        LinkError: nobody answers there.
    """
    import asyncssh

    target = parse_address(address)
    trust, known = read_trust(target)
    seen: list[tuple[bool, str]] = []  # of a refused host key: is it another one? its fingerprint

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(
            self, host: str, addr: str, port: int, key: asyncssh.SSHKey
        ) -> bool:
            others = known.match(host, addr, port)[0]
            seen.append((bool(others), key.get_fingerprint()))
            return False

    try:
        session = await asyncssh.connect(
            **target.parts,
            client_factory=Client,
            known_hosts=known,
            password=None,
            password_auth=False,
            kbdint_auth=False,
            ignore_encrypted=True,
            agent_forwarding=False,
            connect_timeout=patience.connect_s,
            keepalive_interval=patience.silence_s / SILENT_TRIES,
            keepalive_count_max=SILENT_TRIES,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise refuse_key(target, trust, seen, _reason(error)) from None
    except asyncssh.KeyExchangeFailed as error:
        raise refuse_key(target, trust, [(True, "of another kind")], _reason(error)) from None
    except asyncssh.PermissionDenied:
        raise InputError(
            f"{address}: the device accepts none of your SSH keys: bring one there once with "
            f"`{target.command.replace('ssh ', 'ssh-copy-id ', 1)}`; a key with a passphrase must "
            "be in the agent (`ssh-add`)"
        ) from None
    except TimeoutError:
        raise LinkError(
            f"{address}: no answer for {patience.connect_s:g} s: is the device switched on and in "
            f"this network? `{target.command}` must work first"
        ) from None
    except (asyncssh.ConfigParseError, asyncssh.KeyImportError) as error:
        raise InputError(f"{address}: your SSH set-up cannot be used: {_reason(error)}") from None
    except (OSError, asyncssh.Error) as error:
        raise LinkError(
            f"{address}: cannot connect ({_reason(error)}): `{target.command}` must work first"
        ) from None
    try:
        yield Remote(address, target.home, "python3", None, session)
    finally:
        session.close()
        with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
            await asyncio.wait_for(session.wait_closed(), 2)
        session.abort()


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
