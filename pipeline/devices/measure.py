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

    async def prepare(connection: Connection) -> tuple[list[str], dict[str, str], str]:
        argv, variables = await _runner(
            connection, device, offline=offline, patience=patience, tell=tell
        )
        folder = await push(
            connection, parcel.bundle.digest, parcel.contents, patience=patience, tell=tell
        )
        return argv, variables, folder

    async with open_link(device.target, patience=patience, tell=tell) as link:
        tell("connecting")
        argv, variables, folder = await link.do(prepare, heal=True)
        heard: list[str] = []

        def hear(line: str) -> None:
            if not line.startswith("INFO:"):  # LiteRT's greeting
                heard.append(line)
                tell(line)

        async def measure(connection: Connection) -> tuple[int, str, Sequence[tuple[str, str]]]:
            answer, _ = await call(
                connection,
                "measure",
                id=uuid.uuid4().hex,
                argv=[*argv, "bench", folder, "-o", "{out}", *arguments],
                variables=variables,
                limit_s=patience.bench_s,
                timeout_s=patience.bench_s + patience.step_s,
                patience=patience,
                hold=True,
                tell=hear,
            )
            return answer["exit_code"], answer["folder"], answer["files"]

        # Never begun again by itself: a link that breaks in mid-run may be a board that reboots.
        exit_code, place, files = await link.do(measure, heal=False)
        if exit_code not in (0, BROKEN):
            last = heard[-1].removeprefix("device-runner: error: ") if heard else "no message"
            killed = " (killed by a signal: is its memory full?)" if exit_code < 0 else ""
            raise InputError(f"{device.target}: measuring ended with {exit_code}{killed}: {last}")

        async def collect(connection: Connection) -> dict[str, tuple[Report, bytes]]:
            tell("bringing the reports back")
            paths = [f"{place}/{name}" for name, _ in files]
            sizes, data = await call(connection, "fetch", paths=paths, patience=patience)
            found = {}
            for (name, digest), size in zip(files, sizes, strict=True):
                report, data = data[:size], data[size:]
                if sha256(report).hexdigest() != digest:
                    raise InputError(f"{device.target}: {name} arrived damaged; measure again")
                if not _FILE.fullmatch(name):
                    raise InputError(f"{device.target}: {name!r} is no name for a report")
                found[name] = _check(report, f"{device.label}/{name}", parcel.bundle), report
            return found

        found = await link.do(collect, heal=True)
    make_folder(out / device.label)
    for name, (_, data) in found.items():
        write_atomic(out / device.label / name, data)
    reports = tuple(report for report, _ in found.values())
    complaint = "a report is INVALID, and --strict was asked for" if exit_code == BROKEN else None
    return Measured(reports, complaint)


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
