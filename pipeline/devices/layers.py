"""Every layer of artifacts timed on a device."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import LayerReport, parse_layers
from edgeticket.device_runner.selection import select
from edgeticket.pipeline.devices.connection import Patience, Tell
from edgeticket.pipeline.devices.fleet_run import DeviceLines
from edgeticket.pipeline.devices.link import Link, open_link
from edgeticket.pipeline.devices.runner import Device, Parcel, Prepared, collect, prepare, start
from edgeticket.pipeline.devices.transfer import bundle_contents

BROKEN = 1  # the runner's exit code with --strict, when a report is INVALID


def time_layers_on(
    bundle: Path,
    device: Device,
    artifacts: Sequence[str],
    *,
    options: Sequence[str],
    out: Path | None,
    offline: bool,
    patience: Patience,
    console: Console,
) -> list[LayerReport]:
    """Time the layers of artifacts on a device -> a report of each.

    What has no runtime there is left out, with a line that says so, unless nothing is left.

    Args:
        bundle: a folder or .zip, or the folder of a run that holds ``bundle``.
        device: where.
        artifacts: their ids; none: all int8 ones, or if there is none all.
        options: for `device-runner layers`.
        out: a folder for the reports, ``<artifact>.json``; None: nowhere.
        offline: set up without the device's own way to a package index.
        patience: how long to wait for what.
        console: where it is said how far it is.

    Raises:
        InputError: the bundle or an artifact cannot be used; the device cannot be reached or set
            up; nothing could be timed.
    """
    bundle = bundle / "bundle" if (bundle / "bundle" / "manifest.json").is_file() else bundle
    with open_bundle(bundle) as opened, DeviceLines([device.label], console) as lines:
        names = [*_ids(opened, artifacts)]
        parcel = Parcel(opened, bundle_contents(opened))

        def tell(line: str) -> None:
            lines.show(device.label, line)

        async def go() -> dict[str, tuple[LayerReport, bytes] | InputError]:
            async with open_link(device.target, patience=patience, tell=tell) as link:
                prepared = await link.do(
                    lambda c: prepare(
                        c, device, parcel, offline=offline, patience=patience, tell=tell
                    ),
                    heal=True,
                )
                return {
                    name: await _time(
                        link, prepared, device, parcel, name, options, patience=patience, tell=tell
                    )
                    for name in names
                }

        found = asyncio.run(go())
    reports = []
    for name, result in found.items():
        if isinstance(result, InputError):
            console.print(f"left out: {result}", highlight=False, soft_wrap=True, markup=False)
            continue
        report, data = result
        reports.append(report)
        if out is not None:
            make_folder(out)
            write_atomic(out / f"{name}.json", data)
    if not reports:
        raise InputError("; ".join(map(str, found.values())))
    return reports


def _ids(bundle: Bundle, asked: Sequence[str]) -> list[str]:
    if asked:
        return [select(bundle.manifest, artifact=name).chosen[0].id for name in asked]
    entries = bundle.manifest.artifacts
    int8 = [entry.id for entry in entries if entry.precision == "int8"]
    return int8 or [entry.id for entry in entries]


async def _time(
    link: Link,
    prepared: Prepared,
    device: Device,
    parcel: Parcel,
    artifact: str,
    options: Sequence[str],
    *,
    patience: Patience,
    tell: Tell,
) -> tuple[LayerReport, bytes] | InputError:
    tell(f"timing layers of {artifact}")
    arguments = ["layers", "{bundle}", "--artifact", artifact, "-o", f"{{out}}/{artifact}.json"]
    run = await link.do(
        lambda c: start(c, prepared, [*arguments, *options], patience=patience, tell=tell),
        heal=False,
    )
    if run.exit_code not in (0, BROKEN) or not run.files:
        return run.failure(device.target, doing=f"timing layers of {artifact}")
    files = await link.do(lambda c: collect(c, run, patience=patience, tell=tell), heal=True)
    (data,) = files.values()
    report = parse_layers(data, place=f"{device.target}: {artifact}.json")
    if report.bundle.digest != parcel.bundle.digest or report.artifact.id != artifact:
        return InputError(f"{device.target}: what came back is not of {artifact} of this bundle")
    return report, data
