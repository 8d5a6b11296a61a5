"""One device: bring the bundle, measure there, bring the reports back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, parse_report
from edgeticket.pipeline.devices.connection import Patience, Tell
from edgeticket.pipeline.devices.link import open_link
from edgeticket.pipeline.devices.runner import Device, Parcel, collect, prepare, start

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.json")
PACKED = ".npz"  # outputs, where they were asked for
BROKEN = 1  # the runner's exit code with --strict, when a report is INVALID


@dataclass(frozen=True)
class Measured:
    """Reports of one device; ``complaint``: why the runner says that they are not good enough.

    ``notes`` are sentences about what was noticed besides, and spoils nothing.
    """

    reports: tuple[Report, ...]
    complaint: str | None
    notes: tuple[str, ...] = ()


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
            lambda c: prepare(c, device, parcel, offline=offline, patience=patience, tell=tell),
            heal=True,
        )
        bench = ["bench", "{bundle}", "-o", "{out}", *arguments]
        # Never begun again by itself: a link that breaks in mid-run may be a board that reboots.
        run = await link.do(
            lambda c: start(c, prepared, bench, patience=patience, tell=tell), heal=False
        )
        if run.exit_code not in (0, BROKEN) or not run.files:
            raise run.failure(device.target, doing="measuring")
        tell("bringing the reports back")
        files = await link.do(lambda c: collect(c, run, patience=patience, tell=tell), heal=True)
    reports_alone = {name: data for name, data in files.items() if not name.endswith(PACKED)}
    found = _reports(reports_alone, device.target, parcel.bundle)
    make_folder(out / device.label)
    for report, _ in found.values():
        name = f"{report.artifact.id}{PACKED}"
        if name in files:
            write_atomic(out / device.label / name, files[name])
    for name, (_, data) in found.items():
        write_atomic(out / device.label / name, data)
    reports = tuple(report for report, _ in found.values())
    strict = "a report is INVALID, and --strict was asked for"
    complaint = strict if run.exit_code == BROKEN else None
    return Measured(reports, complaint=complaint, notes=run.notes)


def _reports(
    files: Mapping[str, bytes], place: str, bundle: Bundle
) -> dict[str, tuple[Report, bytes]]:
    """File name -> report and its bytes, about this bundle."""
    found = {}
    for name, data in files.items():
        if not _FILE.fullmatch(name):
            raise InputError(f"{place}: {name!r} is no name for a report")
        found[name] = _check(data, f"{place}: {name}", bundle), data
    return found


def _check(data: bytes, place: str, bundle: Bundle) -> Report:
    """A report that came from a device, about this bundle and nothing else."""
    report = parse_report(data, place=place)
    ids = [artifact.id for artifact in bundle.manifest.artifacts]
    if report.bundle.digest != bundle.digest or report.artifact.id not in ids:
        raise InputError(f"{place} is about another bundle: measure again")
    return report
