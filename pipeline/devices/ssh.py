"""The target ``ssh://user@host[:port][/folder]``: the user's own SSH set-up, keys alone.

~/.ssh/config with its aliases, jumps and identities, the agent and known_hosts are honoured. A
host key that is not known, or is another than before, ends the matter: the sentence says what to
type. There is no way to give a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
from edgeticket.pipeline.devices.spawned import HOME

if TYPE_CHECKING:
    import asyncssh

SILENT_TRIES = 3
SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
KNOWN_HOSTS = "~/.ssh/known_hosts"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")


@dataclass(frozen=True)
class Address:
    """The parts of a target; None: as ~/.ssh/config has it."""

    text: str
    user: str | None
    host: str
    port: int | None
    home: str

    @property
    def command(self) -> str:
        """What a person types to log in there."""
        port = f"-p {self.port} " if self.port is not None else ""
        return f"ssh {port}{self.user + '@' if self.user else ''}{self.host}"


def parse_address(text: str) -> Address:
    """``ssh://user@host:port/folder``, all but the host optional.

    Raises:
        InputError: it is something else; a password is never repeated in the sentence.
    """
    form = "write ssh://user@host, ssh://user@host:port, or a Host of ~/.ssh/config as ssh://name"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"a target cannot be read ({error}): {form}") from None
    if parts.password is not None:
        raise InputError(f"a password has no place in a target: {form}, and use a key")
    if not _HOST.fullmatch(parts.hostname or "") or not _NAME.fullmatch(parts.username or "x"):
        raise InputError(f"{text!r} names no host or no user: {form}")
    if parts.query or parts.fragment:
        raise InputError(f"{text!r} has a ? or # in it: {form}")
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}").strip("[]")  # keeps capitals
    home = parts.path if parts.path not in ("", "/") else HOME
    return Address(text, parts.username, host, port, home)


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
    trust, known = _read_trust(target)
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
            **_parts(target),
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
        raise _untrusted(target, trust, seen, _reason(error)) from None
    except asyncssh.KeyExchangeFailed as error:
        raise _untrusted(target, trust, [(True, "of another kind")], _reason(error)) from None
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


def _parts(target: Address) -> dict[str, Any]:
    """What the target says itself; the rest is ~/.ssh/config's."""
    given = {"host": target.host, "port": target.port, "username": target.user}
    return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Trust:
    """The files that host keys are looked up in; the first is the one that keeps new ones.

    ``unkept``: the user's ~/.ssh/config keeps no key at all, so that ssh must be told where to.
    """

    files: tuple[str, ...]
    unkept: bool

    def login(self, target: Address) -> str:
        """What to type so that ssh asks about the key, and keeps it where it is looked up."""
        if not self.unkept:
            return target.command
        options = f"-o UserKnownHostsFile={self.files[0]} -o StrictHostKeyChecking=ask"
        return target.command.replace("ssh ", f"ssh {options} ", 1)

    def forget(self, name: str) -> str:
        """What to type so that a key is no longer known."""
        file = "" if self.files[0] == KNOWN_HOSTS else f"-f {shlex.quote(self.files[0])} "
        return f"ssh-keygen {file}-R {shlex.quote(name)}"


def _read_trust(target: Address) -> tuple[Trust, asyncssh.SSHKnownHosts]:
    """The user's files, by ~/.ssh/config or the default one, and the system's; and their keys.

    A file that is none (``none``, /dev/null) trusts everybody with ssh and nobody with us: the
    default one takes its place, or what to type would lead nowhere.
    """
    import asyncssh

    try:
        config = Path.home() / ".ssh" / "config"
        options = asyncssh.SSHClientConnectionOptions(
            **_parts(target), config=[str(config)] if config.is_file() else None
        )
        configured: Any = options.known_hosts
        kept = [path for path in configured or () if path != os.devnull]
        unkept = configured is None or bool(configured and not kept)
        trust = Trust(tuple(kept or [KNOWN_HOSTS]), unkept)
        paths = [*(Path(path).expanduser() for path in trust.files), SYSTEM_KNOWN_HOSTS]
        return trust, asyncssh.read_known_hosts([str(path) for path in paths if path.is_file()])
    except (OSError, ValueError, RuntimeError, asyncssh.Error) as error:
        raise InputError(f"{target.text}: your SSH set-up cannot be used: {error}") from None


def _untrusted(
    target: Address, trust: Trust, seen: Sequence[tuple[bool, str]], reason: str
) -> InputError:
    if not seen:
        return InputError(
            f"{target.text}: a host on the way to it is not trusted ({reason}): "
            f"`{target.command}` must work first"
        )
    changed, fingerprint = seen[-1]
    name = target.host if target.port in (None, 22) else f"[{target.host}]:{target.port}"
    if changed:
        return InputError(
            f"{target.text}: its host key ({fingerprint}) is not the one in known_hosts: if the "
            f"device was installed anew, type `{trust.forget(name)}` and "
            f"`{trust.login(target)}`; if not, somebody may be in between"
        )
    return InputError(
        f"{target.text}: its host key ({fingerprint}) is not known here: type "
        f"`{trust.login(target)}` once, and accept the key if it is the one that the device shows"
    )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
