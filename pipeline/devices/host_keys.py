"""Which host keys are trusted, and what to type when one is not."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.ssh_address import Address

if TYPE_CHECKING:
    import asyncssh

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
KNOWN_HOSTS = "~/.ssh/known_hosts"


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


def read_trust(target: Address) -> tuple[Trust, asyncssh.SSHKnownHosts]:
    """The user's files, by ~/.ssh/config or the default one, and the system's; and their keys.

    A file that is none (``none``, /dev/null) trusts everybody with ssh and nobody with us: the
    default one takes its place, or what to type would lead nowhere.
    """
    import asyncssh

    try:
        config = Path.home() / ".ssh" / "config"
        options = asyncssh.SSHClientConnectionOptions(
            **target.parts, config=[str(config)] if config.is_file() else None
        )
        configured: Any = options.known_hosts
        kept = [path for path in configured or () if path != os.devnull]
        unkept = configured is None or bool(configured and not kept)
        trust = Trust(tuple(kept or [KNOWN_HOSTS]), unkept)
        paths = [*(Path(path).expanduser() for path in trust.files), SYSTEM_KNOWN_HOSTS]
        return trust, asyncssh.read_known_hosts([str(path) for path in paths if path.is_file()])
    except (OSError, ValueError, RuntimeError, asyncssh.Error) as error:
        raise InputError(f"{target.text}: your SSH set-up cannot be used: {error}") from None


def refuse_key(
    target: Address, trust: Trust, seen: Sequence[tuple[bool, str]], reason: str
) -> InputError:
    """What to say of a host key that is not trusted.

    ``seen``: whether another key is known for the host, and the fingerprint of the one it shows.
    """
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
