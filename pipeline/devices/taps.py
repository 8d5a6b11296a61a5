"""Every layer's output on a device, brought here for `edgeticket diff`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.devices.connection import Patience, Tell
from edgeticket.pipeline.devices.fleet_run import DeviceLines
from edgeticket.pipeline.devices.link import Link, open_link
from edgeticket.pipeline.devices.runner import Device, Parcel, Prepared, collect, prepare, start
from edgeticket.pipeline.devices.transfer import bundle_contents


def tap_device(
    bundle: Path,
    device: Device,
    artifacts: Sequence[str],
    *,
    samples: int,
    out: Path,
    patience: Patience,
    console: Console,
) -> list[Path]:
    """Tap artifacts on a device -> their files in ``out``.

    What has no runtime there is left out, with a line that says so, unless nothing is left.

    Raises:
        InputError: the device cannot be reached, set up or used; nothing could be tapped.
    """
    with open_bundle(bundle) as opened, DeviceLines([device.label], console) as lines:
        parcel = Parcel(opened, bundle_contents(opened))

        def tell(line: str) -> None:
            lines.show(device.label, line)

        async def go() -> dict[str, bytes | InputError]:
            async with open_link(device.target, patience=patience, tell=tell) as link:
                prepared = await link.do(
                    lambda c: prepare(
                        c, device, parcel, offline=False, patience=patience, tell=tell
                    ),
                    heal=True,
                )
                return {
                    name: await _tap(link, prepared, device, name, samples, patience, tell)
                    for name in artifacts
                }

        found = asyncio.run(go())
    make_folder(out)
    files = []
    for name, data in found.items():
        if isinstance(data, InputError):
            console.print(f"left out: {data}", highlight=False, soft_wrap=True)
        else:
            write_atomic(out / f"{name}.npz", data)
            files.append(out / f"{name}.npz")
    if not files:
        raise InputError("; ".join(map(str, found.values())))
    return files


async def _tap(
    link: Link,
    prepared: Prepared,
    device: Device,
    artifact: str,
    samples: int,
    patience: Patience,
    tell: Tell,
) -> bytes | InputError:
    tell(f"running {artifact}")
    arguments = ["tap", "{bundle}", "--artifact", artifact, "-o", f"{{out}}/{artifact}.npz"]
    arguments += ["--samples", str(samples)]
    run = await link.do(
        lambda c: start(c, prepared, arguments, patience=patience, tell=tell), heal=False
    )
    if run.exit_code != 0 or not run.files:
        return run.failure(device.target, doing=f"tapping {artifact}")
    (data,) = (
        await link.do(lambda c: collect(c, run, patience=patience, tell=tell), heal=True)
    ).values()
    return data
