"""The command `edgeticket diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.commands.devices import TARGET_HELP
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console


def diff(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, folder or .zip, or a run's folder.")
    ],
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact", metavar="ID", help="Only this one. Repeatable; default: all int8."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many of the bundle's samples to run.")
    ] = 16,
    taps: Annotated[
        list[Path] | None,
        typer.Option(
            "--taps",
            metavar="FILE",
            help="Judge what `device-runner tap` wrote on a device, against this machine. "
            "Repeatable.",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="TARGET",
            help=f"Run there, and compare with this machine too: {TARGET_HELP}",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The run's folder `reference`. Default: the one beside the bundle."
        ),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone", help="Without torch: the bundle's own ONNX file, as written, is the judge."
        ),
    ] = False,
    code: Annotated[
        Path | None,
        typer.Option(
            "--code", metavar="DIR", help="Where the function of `model.import` is; it is run."
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            min=0, metavar="LSB", help="Exit with 1 if a layer's own difference is larger."
        ),
    ] = 1.0,
    min_equal: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="Exit with 1 if fewer codes of a layer are equal.",
        ),
    ] = 95.0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", "-o", "--out", metavar="FILE", help="Write all of it as JSON, too."),
    ] = None,
    node_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write each layer's own error for Model Explorer, too: FILE, or for several "
            "artifacts NAME.ID.json each.",
        ),
    ] = None,
) -> None:
    """Show at which layer a runtime parts from the reference, and by how much.

    Every artifact runs with all layers tapped, and each layer is compared twice: *running*, with
    what earlier layers brought along, and by its *own*, recomputed by the reference from the
    inputs that the runtime really had. An error shows in `own` at its layer and nowhere else.

    The reference is the torch network that the run left beside the bundle. Exit codes: 0 every
    layer keeps to its bound, 1 one does not, 2 it cannot be compared. See docs/diff.md.

        edgeticket diff runs/demo

        edgeticket diff runs/demo --on ssh://pi@raspberrypi.local
    """
    from edgeticket.device_runner.strict_json import format_json
    from edgeticket.pipeline.diff.node_data import files_of_diff, is_node_data
    from edgeticket.pipeline.diff.table import print_diff
    from edgeticket.pipeline.output_folder import check_output, json_with, write_output

    console = open_console()
    if on is not None and taps:
        raise InputError("--on taps a device now, --taps judges what was tapped: give one of them")
    ours = json_with("pairs", "first_over")
    if json_file is not None:
        check_output(json_file, ours=ours)
    found = edgeticket.diff(
        bundle,
        artifacts=artifacts or [],
        samples=samples,
        taps=taps or [],
        on=on,
        reference=reference,
        alone=alone,
        code=code,
        max_lsb=bound,
        min_equal=min_equal / 100,
        progress=Bars(console),
    )
    print_diff(found, console)
    if json_file is not None:
        write_output(json_file, format_json(found.to_json()), ours=ours)
    if node_data is not None:
        for place, data in files_of_diff(found, node_data).items():
            write_output(place, data, ours=is_node_data)
    raise typer.Exit(0 if found.is_within else 1)
