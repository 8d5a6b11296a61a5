"""One device: bring the bundle, measure there, bring the reports back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from device_runner.atomic import make_folder, write_atomic
from device_runner.bundle import Bundle
from device_runner.errors import InputError
from device_runner.report import Report, parse_report
from pipeline.devices.connection import Connection, Patience, Tell
from pipeline.devices.environment import set_up
from pipeline.devices.errands import call
from pipeline.devices.link import open_link
from pipeline.devices.runner_wheel import build_runner_wheel
from pipeline.devices.transfer import Content, content_of, push

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.json")
BROKEN = 1  # the runner's exit code with --strict, when a report is INVALID


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
class Measured:
    """Reports of one device; ``complaint``: why the runner says that they are not good enough."""

    reports: tuple[Report, ...]
    complaint: str | None


@dataclass(frozen=True)
class _Prepared:
    """All is there: how to start the runner, and where the bundle lies."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    bundle: str


@dataclass(frozen=True)
class _Run:
    """The runner has ended: names and hashes of the reports in ``folder``, its last words."""

    exit_code: int
    folder: str
    files: tuple[tuple[str, str], ...]
    last: str


async def measure_on(
    device: Device,
    parcel: Parcel,
    arguments: Sequence[str],
    *,
    out: Path,
    offline: bool,
    patience: Patience,
    tell: Tell,
) -> Measured:
    """Measure a bundle on a device; its reports land in ``out/<label>/``, each whole.

    Args:
        device: where.
        parcel: what.
        arguments: for `device-runner bench`.
        out: folder of the reports of all devices.
        offline: set up without the device's own way to a package index.
        patience: how long to wait for what.
        tell: hears what is going on.

    Raises:
        InputError: the device cannot be reached, set up or used; the runner refuses.
    """
    tell("connecting")
    async with open_link(device.target, patience=patience, tell=tell) as link:
        prepared = await link.do(
            lambda c: _prepare(c, device, parcel, offline=offline, patience=patience, tell=tell),
            heal=True,
        )
        # Never begun again by itself: a link that breaks in mid-run may be a board that reboots.
        run = await link.do(
            lambda c: _measure(c, prepared, arguments, patience=patience, tell=tell), heal=False
        )
        if run.exit_code not in (0, BROKEN) or not run.files:
            killed = " (killed by a signal: is its memory full?)" if run.exit_code < 0 else ""
            raise InputError(
                f"{device.target}: measuring ended with {run.exit_code}{killed}: {run.last}"
            )
        tell("bringing the reports back")
        found = await link.do(
            lambda c: _collect(c, run, parcel.bundle, patience=patience), heal=True
        )
    make_folder(out / device.label)
    for name, (_, data) in found.items():
        write_atomic(out / device.label / name, data)
    reports = tuple(report for report, _ in found.values())
    strict = "a report is INVALID, and --strict was asked for"
    return Measured(reports, complaint=strict if run.exit_code == BROKEN else None)


async def _prepare(
    connection: Connection,
    device: Device,
    parcel: Parcel,
    *,
    offline: bool,
    patience: Patience,
    tell: Tell,
) -> _Prepared:
    argv, variables = await _runner(
        connection, device, offline=offline, patience=patience, tell=tell
    )
    name, contents = parcel.bundle.digest, parcel.contents
    folder = await push(connection, name, contents, patience=patience, tell=tell)
    return _Prepared(tuple(argv), variables, folder)


async def _measure(
    connection: Connection,
    prepared: _Prepared,
    arguments: Sequence[str],
    *,
    patience: Patience,
    tell: Tell,
) -> _Run:
    heard = ["no message"]

    def hear(line: str) -> None:
        if not line.startswith("INFO:"):  # LiteRT's greeting
            heard.append(line.removeprefix("device-runner: error: "))
            tell(line)

    found, _ = await call(
        connection,
        "measure",
        id=uuid.uuid4().hex,
        argv=[*prepared.argv, "bench", prepared.bundle, "-o", "{out}", *arguments],
        variables=prepared.variables,
        limit_s=patience.bench_s,
        timeout_s=patience.bench_s + patience.step_s,
        patience=patience,
        hold=True,
        tell=hear,
    )
    files = tuple((name, digest) for name, digest in found["files"])
    return _Run(found["exit_code"], found["folder"], files, heard[-1])


async def _collect(
    connection: Connection, run: _Run, bundle: Bundle, *, patience: Patience
) -> dict[str, tuple[Report, bytes]]:
    """File name -> report and its bytes, verified, and about this bundle."""
    paths = [f"{run.folder}/{name}" for name, _ in run.files]
    sizes, rest = await call(connection, "fetch", paths=paths, patience=patience)
    found = {}
    for (name, digest), size in zip(run.files, sizes, strict=True):
        data, rest = rest[:size], rest[size:]
        if sha256(data).hexdigest() != digest:
            raise InputError(f"{connection.address}: {name} arrived damaged; measure again")
        if not _FILE.fullmatch(name):
            raise InputError(f"{connection.address}: {name!r} is no name for a report")
        found[name] = _check(data, f"{connection.address}: {name}", bundle), data
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
        return [device.python, "-m", "device_runner"], {"PYTHONPATH": f"{folder}/{name}"}
    if connection.environment is not None:
        return [connection.environment, "-m", "device_runner"], {}
    ready = await set_up(connection, offline=offline, patience=patience, tell=tell)
    return [ready.python, "-m", "device_runner"], {}


def _check(data: bytes, place: str, bundle: Bundle) -> Report:
    """A report that came from a device, about this bundle and nothing else."""
    report = parse_report(data, place=place)
    ids = [artifact.id for artifact in bundle.manifest.artifacts]
    if report.bundle.digest != bundle.digest or report.artifact.id not in ids:
        raise InputError(f"{place} is about another bundle: measure again")
    return report
