"""The runner on a device: bring it and a bundle there, start it, bring back what it wrote."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Connection, Patience, Tell
from edgeticket.pipeline.devices.environment import set_up
from edgeticket.pipeline.devices.remote_calls import call, note_of
from edgeticket.pipeline.devices.runner_wheel import build_runner_wheel
from edgeticket.pipeline.devices.transfer import Content, content_of, push

# From Python 3.11 on: a file in the folder where it starts is no module of the runner's.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


@dataclass(frozen=True)
class Device:
    """One device to measure on.

    ``python`` is one that lies there, with numpy and a runtime; None: set-up makes its own.
    """

    label: str
    target: str
    python: str | None = None


@dataclass(frozen=True)
class Parcel:
    """What is measured: an open bundle and the bytes of all its files."""

    bundle: Bundle
    contents: Mapping[str, Content]


@dataclass(frozen=True)
class Prepared:
    """All is there: how to start the runner, and where the bundle lies."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    bundle: str


@dataclass(frozen=True)
class Run:
    """The runner has ended: names and hashes of what it wrote into ``folder``, its last words."""

    exit_code: int
    folder: str
    files: tuple[tuple[str, str], ...]
    last: str
    notes: tuple[str, ...] = ()  # what was noticed besides, in sentences

    def failure(self, target: str, *, doing: str) -> InputError:
        """What to raise when it was no success."""
        killed = " (killed by a signal: is its memory full?)" if self.exit_code < 0 else ""
        ended = f"{target}: {doing} ended with {self.exit_code}{killed}: {self.last}"
        return InputError("; ".join((ended, *self.notes)))


async def prepare(
    connection: Connection,
    device: Device,
    parcel: Parcel,
    *,
    offline: bool,
    patience: Patience,
    tell: Tell,
) -> Prepared:
    """Bring the runner and the bundle to a device that may have them already.

    Raises:
        InputError: it cannot be set up, or its disk is full.
    """
    argv, variables = await _runner(
        connection, device, offline=offline, patience=patience, tell=tell
    )
    name, contents = parcel.bundle.digest, parcel.contents
    folder = await push(connection, name, contents, patience=patience, tell=tell)
    return Prepared(tuple(argv), variables, folder)


async def start(
    connection: Connection,
    prepared: Prepared,
    arguments: Sequence[str],
    *,
    patience: Patience,
    tell: Tell,
) -> Run:
    """Run ``device-runner`` to its end, alone on the device.

    ``{bundle}`` and ``{out}`` in ``arguments`` stand for the bundle, and for a new folder whose
    files are told of.

    Raises:
        InputError: somebody else measures there for too long, or it takes too long.
    """
    heard = ["no message"]
    overheard: list[str] = []

    def hear(line: str) -> None:
        if not line.startswith("INFO:"):  # LiteRT's greeting
            heard.append(line.removeprefix("device-runner: error: "))
            tell(line)

    found, _ = await call(
        connection,
        "measure",
        id=uuid.uuid4().hex,
        argv=[*prepared.argv, *(a.replace("{bundle}", prepared.bundle) for a in arguments)],
        variables=prepared.variables,
        limit_s=patience.bench_s,
        timeout_s=patience.bench_s + patience.step_s,
        patience=patience,
        hold=True,
        tell=hear,
        overhear=overheard.append,
    )
    files = tuple((name, digest) for name, digest in found["files"])
    return Run(found["exit_code"], found["folder"], files, heard[-1], note_of(overheard))


async def collect(
    connection: Connection, run: Run, *, patience: Patience, tell: Tell
) -> dict[str, bytes]:
    """Names and bytes of the files that the runner wrote, as they left it.

    Raises:
        InputError: one arrived damaged.
    """
    paths = [f"{run.folder}/{name}" for name, _ in run.files]
    sizes, rest = await call(connection, "fetch", paths=paths, patience=patience, tell=tell)
    found = {}
    for (name, digest), size in zip(run.files, sizes, strict=True):
        found[name], rest = rest[:size], rest[size:]
        if sha256(found[name]).hexdigest() != digest:
            raise InputError(f"{connection.address}: {name} arrived damaged; measure again")
    return found


async def _runner(
    connection: Connection, device: Device, *, offline: bool, patience: Patience, tell: Tell
) -> tuple[list[str], dict[str, str]]:
    """How `device-runner` is started there, with its environment variables."""
    if device.python is not None:
        name, wheel = build_runner_wheel()
        folder = await push(
            connection, name, {name: content_of(wheel)}, patience=patience, tell=tell
        )
        # A wheel of pure Python is importable as it is, and wins over a runner installed there.
        program = [device.python, "-m", "edgeticket.device_runner"]
        return program, SAFE_PATH | {"PYTHONPATH": f"{folder}/{name}"}
    if connection.environment is not None:
        return [connection.environment, "-m", "edgeticket.device_runner"], SAFE_PATH
    ready = await set_up(connection, offline=offline, patience=patience, tell=tell)
    return [ready.python, "-m", "edgeticket.device_runner"], SAFE_PATH
