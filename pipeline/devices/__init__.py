"""Where artifacts are measured: each way of reaching a device is one module and a line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Connection, Patience, Tell
from edgeticket.pipeline.devices.emulated import connect_emulated
from edgeticket.pipeline.devices.spawned import connect_local
from edgeticket.pipeline.devices.ssh import connect_ssh

Connect = Callable[..., AbstractAsyncContextManager[Connection]]
"""``connect(address, patience=, tell=)``: open a link for the time of an ``async with`` block."""


def connect(
    address: str, *, patience: Patience, tell: Tell = lambda line: None
) -> AbstractAsyncContextManager[Connection]:
    """A target as users write it -> a link to it, once the block is entered.

    ``tell`` hears what takes long until then.

    Raises:
        InputError: no such kind of target; entering the block: it cannot be reached.
    """
    kind = address.partition(":")[0]
    if kind not in CONNECTIONS:
        known = ", ".join(f"`{form}`" for form in FORMS.values())
        raise InputError(f"{address!r} is no target (known: {known})")
    return CONNECTIONS[kind](address, patience=patience, tell=tell)


CONNECTIONS: Mapping[str, Connect] = {
    "local": connect_local,
    "ssh": connect_ssh,
    "emulated": connect_emulated,
}
FORMS: Mapping[str, str] = {  # for people
    "local": "local",
    "ssh": "ssh://user@host",
    "emulated": "emulated:CPU",
}
