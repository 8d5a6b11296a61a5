"""Targets over SSH as users write them: ``ssh://user@host[:port][/folder]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.spawned import HOME

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

    @property
    def parts(self) -> dict[str, Any]:
        """What the target says itself, as asyncssh calls it; the rest is ~/.ssh/config's."""
        given = {"host": self.host, "port": self.port, "username": self.user}
        return {name: value for name, value in given.items() if value is not None}


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
