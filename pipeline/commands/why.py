"""The command `edgeticket why`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.commands.options import DataFolder
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console

SUBJECT = "FILE.onnx, FILE.tflite, FILE.pt2, RUN, RECIPE, BUNDLE:ID, RUN:ID or REPORT.json"


def why(
    first: Annotated[
        str, typer.Argument(metavar="A", help=f"What is taken to be right: {SUBJECT}.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What is asked about, of the same.")],
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inputs as A takes them, .npy or .npz. Default: those of a bundle that A or B "
            "is in; else noise, by which ranges cannot be judged.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many samples to run.")] = 16,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="Where a report's artifact lies, to see its layers."),
    ] = None,
    without_dot_products: Annotated[
        bool,
        typer.Option("--without-dot-products", help="Judge B as for an x86 CPU that has no VNNI."),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Run the recipe before and after the remedies, and compare."),
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of --apply: the recipe, if neither A nor B is it."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Of --apply: where the runs go.")
    ] = Path("why"),
    data: DataFolder = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON, too.")
    ] = None,
) -> None:
    """Say where B parts from A or loses time, why, and the smallest change that mends it.

    Both run on the same samples with every layer looked at, and each cause of a closed list is
    judged by numbers: a range that clips, a channel that takes the range, sums that saturate at
    16 bits, operators left in float32, channels beside the kernels' tiles, copies that move axes,
    operators that fell back to the CPU, inputs prepared otherwise, another version of the runtime.

        edgeticket why float.onnx int8.tflite --samples x.npy

        edgeticket why runs/demo runs/demo:ticket-tflite-int8

        edgeticket why yesterday.json today.json

    Exit codes: 0 nothing was found, 1 a cause was, or a layer parts without one, 2 it cannot be
    said. See docs/why.md.
    """
    from edgeticket.device_runner.strict_json import format_json
    from edgeticket.pipeline.output_folder import check_output, json_with, write_output
    from edgeticket.pipeline.why.table import print_answer, print_applied

    console = open_console()
    ours = json_with("findings", "parted")
    if json_file is not None:
        check_output(json_file, ours=ours)
    answer, applied = edgeticket.why(
        first,
        second,
        samples=samples,
        count=count,
        bundle=bundle,
        without_dot_products=without_dot_products,
        apply=apply,
        recipe=recipe,
        out=out,
        data=data,
        progress=Bars(console),
    )
    print_answer(answer, console)
    document = answer.to_json()
    if applied is not None:
        print_applied(applied, console)
        document["applied"] = applied.to_json()
    if json_file is not None:
        write_output(json_file, format_json(document), ours=ours)
    raise typer.Exit(answer.exit_code)
