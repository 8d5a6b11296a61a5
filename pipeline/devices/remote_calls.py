"""Ask a device to do an errand of `pipeline.devices.on_device`, over any connection."""

from __future__ import annotations

import functools
import getpass
import json
import socket
from collections.abc import Iterable
from importlib.resources import files
from itertools import chain
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Connection, LinkError, Patience, Tell

PACKAGE = "edgeticket.pipeline.devices.on_device"
MODULES = ("ground", "files", "measure", "environment", "main")  # each after those it imports
NO_PROGRAM = (126, 127)  # a shell's exit codes

# Reads [[module, text], ...] from standard input, makes the modules, and starts the last one.
START = """
import json, sys, types
for name, text in json.loads(sys.stdin.buffer.readline().decode("utf-8")):
    module = sys.modules[name] = types.ModuleType(name)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""


async def call(
    connection: Connection,
    errand: str,
    *,
    patience: Patience,
    timeout_s: float | None = None,
    payload: Iterable[bytes] = (),
    hold: bool = False,
    tell: Tell | None = None,
    **request: Any,
) -> tuple[Any, bytes]:
    """Do one errand -> its answer, and the bytes that follow it.

    Args:
        connection: the device.
        errand: a key of ``ERRANDS`` in `pipeline.devices.on_device.main`.
        patience: how long it may wait for another host.
        timeout_s: how long the errand itself may take, ``patience.step_s`` when not given.
        payload: bytes that the errand takes.
        hold: the errand shall see when we, or the link, are gone.
        tell: hears what it says meanwhile.
        request: the errand's own arguments, as JSON values.

    Raises:
        InputError: the device refuses, in one sentence.
        LinkError, SlowError: as `Connection.run`.
    """
    common = {"errand": errand, "home": connection.home, "lock_s": patience.lock_s, "who": _us()}
    asked = json.dumps({**common, **request}).encode() + b"\n"
    done = await connection.run(
        [connection.python, "-I", "-c", START],
        timeout_s=(timeout_s or patience.step_s) + patience.lock_s,
        stdin=chain([_modules(), asked], payload),
        hold_stdin=hold,
        tell=tell,
    )
    line, _, rest = done.stdout.partition(b"\n")
    try:
        found = json.loads(line)
    except ValueError:
        raise _failure(connection, done.exit_code, done.stderr) from None
    if "error" in found:
        raise InputError(f"{connection.address}: {found['error']}")
    return found["answer"], rest


def _failure(connection: Connection, exit_code: int, stderr: bytes) -> InputError:
    lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
    if exit_code in NO_PROGRAM:
        return InputError(
            f"{connection.address}: there is no {connection.python} ({lines[-1]}): "
            "install it there, for example with `sudo apt install python3`"
        )
    if exit_code < 0 or exit_code > 128:  # as a shell tells of signals
        return LinkError(
            f"{connection.address}: {connection.python} was killed there: was the device rebooted, "
            "or is its memory full?"
        )
    return InputError(f"{connection.address}: {connection.python} failed there: {lines[-1]}")


def _us() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


@functools.cache
def _modules() -> bytes:
    """The line that `START` reads. Packages above ours stand empty."""
    parts = PACKAGE.split(".")
    empty = [[".".join(parts[: i + 1]), ""] for i in range(len(parts))]
    texts = [
        [f"{PACKAGE}.{name}", (files(PACKAGE) / f"{name}.py").read_text(encoding="utf-8")]
        for name in MODULES
    ]
    return json.dumps([*empty, *texts]).encode() + b"\n"
