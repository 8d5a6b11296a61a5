"""The command `edgeticket layers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.commands.devices import TARGET_HELP, ConnectTimeout, Offline
from edgeticket.pipeline.text import open_console


def layers(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, folder or .zip, or a run's folder.")
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="TARGET", help=f"Time there: {TARGET_HELP}")
    ] = "local",
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact", metavar="ID", help="Only this one. Repeatable; default: all int8."
        ),
    ] = None,
    diff: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What `edgeticket diff --json` wrote: each layer's own error stands beside its "
            "time.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Reports, too: DIR/ARTIFACT.json."),
    ] = None,
    runner: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- OPTIONS", help="For `device-runner layers`, see its --help page."
        ),
    ] = None,
    offline: Offline = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="S", help="The device may take so long for each file.")
    ] = 1800.0,
    connect_timeout: ConnectTimeout = 20.0,
) -> None:
    """Say how long each layer takes on a device, who ran it, and how far it is off.

    The file is cut behind each operator, all beginnings are timed side by side, and a layer is
    what the next beginning takes longer; the sum is held against the whole file. With `--diff`,
    each layer's own error against torch stands beside it. See docs/search.md.

        edgeticket layers runs/demo --on ssh://pi@raspberrypi.local

        edgeticket layers runs/demo --artifact ticket-tflite-int8 --diff diff.json -- --threads 2

    Exit codes: 0 timed, 2 it cannot be.
    """
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.diff.layer_times import print_layers

    console = open_console()
    timed = edgeticket.layers(
        bundle,
        on=on,
        artifacts=artifacts or [],
        diff=diff,
        out=out,
        options=runner or [],
        offline=offline,
        patience=Patience(connect_s=connect_timeout, bench_s=timeout, setup_s=timeout),
        console=console,
    )
    print_layers(timed, console)
