"""Call a function of `pipeline.devices.on_device`, on a device, over any connection."""

from __future__ import annotations

import functools
import getpass
import json
import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.pipeline.devices.connection import (
    Connection,
    Finished,
    LinkError,
    Patience,
    Sign,
    SilentError,
    Tell,
)

PACKAGE = "edgeticket.pipeline.devices.on_device"
MODULES = (
    "ground",
    "kept",
    "mark",
    "files",
    "measure",
    "environment",
    "main",
)  # after those they import
NO_PROGRAM = (126, 127)  # a shell's exit codes
SAID_LINES = 3  # of what a device said instead of an answer
MOST_HEARD = 2**16  # bytes of it

# The command line itself. It has no line break, apostrophe, backslash, "!" or "$", so that every
# shell, csh and fish among them, passes it on as it is. What is printed before its first word is
# somebody else's, and we send nothing until that word has come: a shell that a start-up file has
# put in python's place would run our text as commands.
FIRST = (
    'import json, os, sys; word = ":terminal" if os.isatty(0) else ":begin"; '
    '[print("", sys.argv[1] + word, sep=chr(10), file=f, flush=True) '
    "for f in (sys.stderr, sys.stdout)]; "
    "os.isatty(0) or exec(json.loads(sys.stdin.buffer.readline().decode()))"
)

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
    function: str,
    *,
    patience: Patience,
    timeout_s: float | None = None,
    payload: Iterable[bytes] = (),
    hold: bool = False,
    tell: Tell | None = None,
    overhear: Tell | None = None,
    **request: Any,
) -> tuple[Any, bytes]:
    """Make one call -> its answer, and the bytes that follow it.

    Args:
        connection: the device.
        function: a key of ``CALLS`` in `pipeline.devices.on_device.main`.
        patience: how long it may wait for another host.
        timeout_s: how long the call itself may take, ``patience.step_s`` when not given.
        payload: bytes that the call takes.
        hold: the call shall see when we, or the link, are gone.
        tell: hears what it says meanwhile.
        overhear: hears what start-up files print before it begins.
        request: the call's own arguments, as JSON values.

    Raises:
        InputError: the device refuses, or says something else than an answer; in one sentence.
        LinkError, SlowError: as `Connection.run`.
    """
    place = {"home": connection.home, "example": _example(connection.address)}
    common = {"call": function, "lock_s": patience.lock_s, "who": _us(), **place}
    asked = json.dumps({**common, **request}).encode() + b"\n"
    word = secrets.token_hex(16)
    ear = _Ear(f"{word}:begin", tell, overhear)
    sign = Sign(
        f"\n{word}:begin".encode(),
        wait_s=patience.sign_s,
        late=lambda: ear.tell(
            f"no sign of {connection.python} there yet; waiting {patience.sign_s:g} s for it"
        ),
    )
    try:
        done = await connection.run(
            [connection.python, "-I", "-c", FIRST, word],
            timeout_s=(timeout_s or patience.step_s) + patience.lock_s,
            stdin=chain([_first_line(), _modules(), asked], payload),
            hold_stdin=hold,
            tell=ear.hear,
            sign=sign,
        )
    except SilentError as error:
        raise InputError(
            f"{connection.address}: no sign of {connection.python} for {patience.sign_s:g} s"
            f"{_said(error.stdout, error.stderr, word)}: {START_UP}"
        ) from None
    ear.hear_before(done.stdout.partition(f"\n{word}:".encode())[0])
    _, answered, framed = done.stdout.partition(f"\n{word}:answer".encode())
    line, _, rest = framed.partition(b"\n")[2].partition(b"\n")
    rest, ended, _ = rest.rpartition(f"\n{word}:end\n".encode())
    try:
        found = json.loads(line) if answered else {}
    except ValueError:
        found = {}
    if "error" in found:
        sentence = clean_line(str(found["error"]), longest=2000)
        raise InputError("; ".join((f"{connection.address}: {sentence}", *note_of(ear.before))))
    if "answer" not in found or not ended:
        raise _failure(connection, done, word)
    return found["answer"], rest


class _Ear:
    """Hears what is written to standard error by the call, and what comes before it."""

    def __init__(self, first: str, tell: Tell | None, overhear: Tell | None) -> None:
        self._first = first
        self._begun = False
        self.tell: Tell = tell or _to_nobody
        self._overhear: Tell = overhear or _to_nobody
        self.before: list[str] = []  # what was printed before the call

    def hear(self, line: str) -> None:
        if self._begun:
            self.tell(line)
        elif line == self._first:
            self._begun = True
        elif line:
            self._take(line)

    def hear_before(self, printed: bytes) -> None:
        """What start-up files printed to standard output, where answers come, too."""
        for line in printed[-MOST_HEARD:].splitlines():
            if cleaned := clean_line(line, longest=200):
                self._take(cleaned)

    def _take(self, line: str) -> None:
        self.before.append(line)
        self._overhear(line)


def _to_nobody(line: str) -> None:
    pass


def _failure(connection: Connection, done: Finished, word: str) -> InputError:
    said = _said(done.stdout, done.stderr, word)
    if f"{word}:terminal".encode() in done.stdout:
        return InputError(
            f"{connection.address}: a program there gives us a terminal, which spoils what is "
            "sent: see that no start-up file (~/.bashrc, ~/.profile) starts script, screen or tmux"
        )
    killed = done.exit_code < 0 or done.exit_code > 128  # as a shell tells of signals
    if f"\n{word}:begin".encode() not in done.stdout and not killed:
        if done.exit_code in NO_PROGRAM or "not found" in said:
            return InputError(
                f"{connection.address}: there is no {connection.python}{said}: "
                "install it there, for example with `sudo apt install python3`"
            )
        return InputError(
            f"{connection.address}: {connection.python} did not start there, and the login shell "
            f"ended with {done.exit_code}{said}: {START_UP}"
        )
    if killed:
        return LinkError(
            f"{connection.address}: {connection.python} was killed there: was the device rebooted, "
            "or is its memory full?"
        )
    return InputError(f"{connection.address}: {connection.python} failed there{said}")


START_UP = (
    "its login shell must run a command that it is given; see what its start-up files do "
    "(~/.bashrc, ~/.profile, ~/.zshenv: exit, exec), and which shell and ForceCommand it has"
)


def _said(stdout: bytes, stderr: bytes, word: str) -> str:
    """The last lines of what a device said, for a sentence."""
    text = stdout.partition(f"\n{word}".encode())[0] + b"\n" + stderr
    lines = [clean_line(line, longest=200) for line in text[-MOST_HEARD:].splitlines()]
    lines = [line for line in lines if line and not line.startswith(word)]
    return f" (it says: {' / '.join(lines[-SAID_LINES:])})" if lines else ", and it says nothing"


def note_of(overheard: Sequence[str]) -> tuple[str, ...]:
    """What a device said before a program began, as one sentence, if it said anything."""
    if not overheard:
        return ()
    lines = [clean_line(line, longest=200) for line in overheard[:SAID_LINES]]
    more = len(overheard) - len(lines)
    rest = f" / and {more} more lines" if more > 1 else " / and one more line" * more
    return (f"it prints before programs start: {' / '.join(lines)}{rest}",)


def _example(address: str) -> str:
    """The same target with another folder, to show how one is named."""
    kind, _, rest = address.partition(":")
    host = "//" + rest.removeprefix("//").split("/")[0] if kind == "ssh" else ""
    return f"{kind}:{host}/var/tmp/edgeticket"


def _us() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user has no name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


@functools.cache
def _first_line() -> bytes:
    """The line that `FIRST` reads."""
    return json.dumps(START).encode() + b"\n"


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
