"""The commands `edgeticket bench` and `edgeticket device`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.text import open_console

TARGET_HELP = (
    "`ssh://user@host[:port][/folder]`, or a Host of ~/.ssh/config as `ssh://name`, "
    "`emulated:cortex-a72`, or `local`."
)
Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="This machine fetches the packages and brings them. Done by itself when the device "
        "reaches no package index.",
    ),
]
Timeout = Annotated[
    float, typer.Option(min=1, metavar="S", help="A device may measure, or be set up, for so long.")
]
ConnectTimeout = Annotated[
    float, typer.Option(min=1, metavar="S", help="Until the link stands, keys and login included.")
]
LockTimeout = Annotated[
    float, typer.Option(min=0, metavar="S", help="Wait so long for another host on a device.")
]

device_app = typer.Typer(
    help="Prepare a device, look whether it can be trusted, and leave nothing behind.\n\n"
    f"TARGET is {TARGET_HELP} docs/devices.md begins with a fresh board.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def bench(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, folder or .zip, or a run's folder.")
    ],
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="TARGET", help=f"{TARGET_HELP} May be given often."),
    ] = None,
    devices: Annotated[
        list[Path] | None,
        typer.Option(
            "--devices",
            metavar="FLEET.yaml",
            help="A file of devices: `devices: [{target: ssh://pi@pi5, label: pi5}]`.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Reports: DIR/LABEL/ARTIFACT.json.")
    ] = Path("device-reports"),
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page to look at, too: HTML, as `report` makes."),
    ] = None,
    sustain: Annotated[
        str | None,
        typer.Option(
            metavar="30m",
            help="Load without a pause for so long: p50 and p90 of each minute, the minute in "
            "which a device throttles, and the steady p90. --timeout is on top of it.",
        ),
    ] = None,
    runner: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- OPTIONS", help="For `device-runner bench`, see its --help."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="A function of your own (outputs, targets) -> number, run here over the outputs "
            "that each device brings back; see docs/tasks.md.",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Measure with this Python on the devices, which has numpy and a runtime, "
            "instead of an environment of our own.",
        ),
    ] = None,
    offline: Offline = False,
    timeout: Timeout = 3600.0,
    connect_timeout: ConnectTimeout = 20.0,
    lock_timeout: LockTimeout = 600.0,
) -> None:
    """Measure a bundle on devices, all at once, and compare them with this machine.

    A device needs an SSH server, your key, and Python 3.9 or newer. The first time it gets an
    environment of its own, in ~/.edgeticket; then only files that it lacks are sent. A device
    that fails or hangs hurts no other. docs/devices.md begins with a fresh board.

        edgeticket bench runs/demo --on ssh://pi@raspberrypi.local --on local

        edgeticket bench runs/demo --devices lab.yaml -- --runtime tflite --min-seconds 10

        edgeticket bench runs/demo --on ssh://pi@pi5 --sustain 30m -- --runtime tflite

    Exit codes: 0 all devices measured, 1 some did not (or `-- --strict` and INVALID), 2 none did.
    """
    from edgeticket.pipeline.devices.connection import Patience

    if page is not None:
        from edgeticket.pipeline.page.file import check_place

        check_place(page)
    console = open_console()
    outcomes = edgeticket.bench(
        bundle,
        on=on or [],
        devices=devices or [],
        options=runner or [],
        sustain=sustain,
        out=out,
        python=python,
        offline=offline,
        patience=Patience(
            connect_s=connect_timeout, bench_s=timeout, setup_s=timeout, lock_s=lock_timeout
        ),
        console=console,
        metric=metric,
    )
    for outcome in outcomes:
        trouble = outcome.failure or outcome.complaint
        if trouble is not None:
            console.print(f"{outcome.device.label}: {trouble}", highlight=False, soft_wrap=True)
    if page is not None:
        from edgeticket.pipeline.devices.bench import page_sources
        from edgeticket.pipeline.page.render import write_page

        write_page(page_sources(bundle, outcomes, out=out), page)
    raise typer.Exit(1 if any(o.failure or o.complaint for o in outcomes) else 0)


@device_app.command()
def setup(
    target: Target,
    offline: Offline = False,
    timeout: Timeout = 1800.0,
    connect_timeout: ConnectTimeout = 20.0,
    lock_timeout: LockTimeout = 600.0,
) -> None:
    """Make an environment on a device: the runner, numpy, and the runtimes that exist for it.

    `edgeticket bench --on` does this by itself. It touches ~/.edgeticket there and nothing else,
    needs no root, and a second time takes a second. Runtimes: LiteRT, else tflite-runtime; ONNX
    Runtime, on a Jetson the installed GPU build if there is one.
    """
    from edgeticket.pipeline.devices.connection import Patience

    patience = Patience(connect_s=connect_timeout, setup_s=timeout, lock_s=lock_timeout)
    edgeticket.set_up_device(target, offline=offline, patience=patience, console=open_console())


@device_app.command()
def check(target: Target, connect_timeout: ConnectTimeout = 20.0) -> None:
    """Say whether measurements on a device can be trusted now, and what to change.

    Exit codes: 0 they can, 1 they cannot, 2 the device cannot be asked.
    """
    from edgeticket.pipeline.devices.connection import Patience

    patience = Patience(connect_s=connect_timeout)
    trusted = edgeticket.check_device(target, patience=patience, console=open_console())
    raise typer.Exit(0 if trusted else 1)


@device_app.command()
def remove(
    target: Target, connect_timeout: ConnectTimeout = 20.0, lock_timeout: LockTimeout = 60.0
) -> None:
    """Remove everything that edgeticket left on a device."""
    from edgeticket.pipeline.devices.connection import Patience

    patience = Patience(connect_s=connect_timeout, lock_s=lock_timeout)
    edgeticket.clean_device(target, patience=patience, console=open_console())
