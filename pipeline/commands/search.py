"""The commands `edgeticket predict` and `edgeticket search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json
from edgeticket.pipeline.commands.devices import (
    TARGET_HELP,
    ConnectTimeout,
    LockTimeout,
    Offline,
    Timeout,
)
from edgeticket.pipeline.commands.models import arguments_given, shape_given
from edgeticket.pipeline.commands.options import DataFolder, Overrides, RecipeFile
from edgeticket.pipeline.output_folder import check_output, json_with, write_output
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console, plain

# What both commands take.
Runtimes = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="ort or tflite; default: both. Repeatable."),
]
Times = Annotated[
    Path, typer.Option(metavar="DIR", help="Where the times of probes are kept, a file a board.")
]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="Within one inference.")]
Amx = Annotated[bool, typer.Option(help="Let runtimes use Intel's AMX.")]


def predict(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|RECIPE",
            help="A recipe; or `torchvision:NAME`, `timm:NAME`, `import:package.module:function`, "
            "or one of this project's, such as `resnet20`. Weights do not matter.",
        ),
    ],
    on: Annotated[str, typer.Option("--on", metavar="TARGET", help=TARGET_HELP)],
    keep: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Keep this share of every group of channels: 0.5."),
    ] = None,
    structure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What stays, as JSON: channels by group, blocks that are bypassed. What --json "
            "wrote is one: change its numbers.",
        ),
    ] = None,
    quantum: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="With --keep: channels come in multiples of N."),
    ] = 8,
    runtime: Runtimes = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="int8 or fp32; default: both. Repeatable."),
    ] = None,
    size: Annotated[
        str,
        typer.Option(metavar="CxHxW", help="Of one input, for a network from elsewhere."),
    ] = "3x224x224",
    args: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="KEY=VALUE", help="Of the network's function. Repeatable."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", "-o", "--out", metavar="FILE", help="Write all of it as JSON, too."),
    ] = None,
    times: Times = Path("runs/.probes"),
    threads: Threads = 1,
    amx: Amx = True,
    allow_invalid: Annotated[
        bool,
        typer.Option(
            "--allow-invalid",
            help="On a machine that is not quiet: go on with the fastest queries, and keep none.",
        ),
    ] = False,
    data: DataFolder = None,
    offline: Offline = False,
    timeout: Timeout = 3600.0,
    connect_timeout: ConnectTimeout = 20.0,
    lock_timeout: LockTimeout = 600.0,
) -> None:
    """Say what a cut brings on a device, layer by layer, before anything is trained.

    Every step of the network and of what is left of it becomes a tiny file. The device times them
    side by side, and their sum is the prediction. Both networks are timed as wholes, too, so the
    table says how far the sum is off. Times are kept by board and version of the runtime: stopped,
    the same command goes on, and the next cut needs only what is new in it. Only VALID sessions
    count; another is begun otherwise, three in all.

        edgeticket predict resnet56 --on ssh://pi@raspberrypi.local --keep 0.5

        edgeticket predict mine.yaml --on local --keep 0.5 --json cut.json

        edgeticket predict mine.yaml --on local --structure cut.json

    docs/search.md tells what is measured, what is fitted, and how good it is.

    Exit codes: 0 done, 2 something that was given cannot be used, or nothing VALID was measured.
    """
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.search.table import prediction_json, print_prediction

    ours = json_with("predictions", "structure", "widths")
    if json_file is not None:
        check_output(json_file, ours=ours)
    console = open_console()
    found = edgeticket.predict(
        subject,
        on=on,
        keep=keep,
        structure=structure,
        quantum=quantum,
        runtimes=runtime or ("ort", "tflite"),
        precisions=precision or ("int8", "fp32"),
        size=shape_given(size),
        args=arguments_given(args or []),
        data=data,
        times=times,
        threads=threads,
        amx=amx,
        allow_invalid=allow_invalid,
        offline=offline,
        patience=Patience(
            connect_s=connect_timeout, bench_s=timeout, setup_s=timeout, lock_s=lock_timeout
        ),
        progress=Bars(console),
    )
    print_prediction(found, console)
    if json_file is not None:
        write_output(json_file, format_json(prediction_json(found)), ours=ours)


def search(
    recipe: RecipeFile,
    on: Annotated[
        list[str],
        typer.Option(
            "--on", metavar="TARGET", help=f"{TARGET_HELP} Repeatable: the slowest counts."
        ),
    ],
    max_p90_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="90 % of queries are answered by then.")
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="DROP",
            help="Below the dense network: 0.5 percentage points (or dB, or the metric's unit), or "
            "1%.",
        ),
    ] = None,
    max_kb: Annotated[
        float | None, typer.Option(metavar="KB", help="Of an artifact's file, in 1000 bytes.")
    ] = None,
    minimise: Annotated[
        Literal["p90", "bytes", "drop"],
        typer.Option(
            metavar="p90|bytes|drop", help="What is to be least within the bounds; default: p90."
        ),
    ] = "p90",
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="For everything: 2h, 30m, 90s. Training ends at three quarters of it; what is "
            "left undone then is named.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of fine-tuning on the front; default: as the recipe trains."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Results go to DIR/NAME-search.")
    ] = Path("runs"),
    overrides: Overrides = None,
    quantum: Annotated[
        int, typer.Option(min=1, metavar="N", help="Channels come in multiples of N.")
    ] = 8,
    runtime: Runtimes = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="int8 or fp32; default: int8. Repeatable."),
    ] = None,
    times: Times = Path("runs/.probes"),
    threads: Threads = 1,
    amx: Amx = True,
    allow_invalid: Annotated[
        bool,
        typer.Option(
            "--allow-invalid", help="On machines that are not quiet: go on, and say so everywhere."
        ),
    ] = False,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Choose and measure anew, if it was done before.")
    ] = False,
    data: DataFolder = None,
    offline: Offline = False,
    timeout: Timeout = 3600.0,
    connect_timeout: ConnectTimeout = 20.0,
    lock_timeout: LockTimeout = 600.0,
) -> None:
    """Find the smallest network that holds a budget on a device, measured there.

    From the recipe's dense network: steps are timed on the targets, an integer programme chooses
    how many channels of each group stay and which blocks go, the best are timed as wholes, and
    what comes near the front is fine-tuned with the dense network as its teacher, a few epochs at
    a time. Every point that is left has a folder with its bundle and its reports, and a recipe.

    Leaves in DIR/NAME-search/: `report.html`, `summary.md`, `front.json`, `front.svg`, a folder for
    each point.
    Stop it at any time; the same command goes on where it was.

        edgeticket search demo --on local --max-drop 0.5

        edgeticket search mine.yaml --on ssh://pi@raspberrypi.local --max-p90-ms 5 --time 2h

    Exit codes: 0 a point is within the bounds, 1 none is (the nearest is named), 2 something that
    was given cannot be used, or nothing that was measured may be believed.
    """
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.search.front_file import rows, verdict

    console = open_console()
    front = edgeticket.search(
        recipe,
        on=on,
        max_p90_ms=max_p90_ms,
        max_drop=max_drop,
        max_kb=max_kb,
        minimise=minimise,
        out=out,
        overrides=overrides or [],
        epochs=epochs,
        seconds=None if time is None else seconds_of(time),
        quantum=quantum,
        runtimes=runtime or ("ort", "tflite"),
        precisions=precision or ("int8",),
        data=data,
        times=times,
        threads=threads,
        amx=amx,
        allow_invalid=allow_invalid,
        remeasure=remeasure,
        offline=offline,
        patience=Patience(
            connect_s=connect_timeout, bench_s=timeout, setup_s=timeout, lock_s=lock_timeout
        ),
        progress=Bars(console),
    )
    head, *body = rows(front)
    table = Table(box=None, pad_edge=False)
    for heading in head:
        table.add_column(heading)
    for row in body:
        table.add_row(*map(plain, row))
    console.print(table)
    console.print(plain(verdict(front)), soft_wrap=True)
    for name, reason in {**front.left_out, **front.unfinished}.items():
        console.print(plain(f"{name} was left out: {reason}"), soft_wrap=True)
    if front.chosen is None:
        raise typer.Exit(1)


def seconds_of(text: str) -> float:
    """``2h``, ``30m``, ``90s`` -> seconds.

    Raises:
        InputError: it is none.
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"--time {text}: write 2h, 30m or 90s")
    return seconds
