"""The command `edgeticket history`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.text import open_console


def history(
    reports: Annotated[
        list[Path],
        typer.Argument(metavar="REPORTS...", help="Reports of any age, or folders of them."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write a page, too: HTML.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as JSON, too.")
    ] = None,
) -> None:
    """Show what became of artifacts on boards: p90 and score over time and versions of runtimes.

    Runs of one artifact, board, number of threads and scenario are a series. Where its mean
    changed by more than chance explains, the run is told, and what else became another with it.
    `edgeticket compare PAST NEW --against history` is the gate to it.

        edgeticket history reports/ -o history.html
    """
    from edgeticket.device_runner.strict_json import format_json
    from edgeticket.pipeline.history.table import print_history
    from edgeticket.pipeline.output_folder import check_output, json_with, write_output

    ours = json_with("series", "passed_over")
    if json_file is not None:
        check_output(json_file, ours=ours)
    gathered = edgeticket.history(list(reports), out=out)
    print_history(gathered, open_console())
    if json_file is not None:
        write_output(json_file, format_json(gathered.to_json()), ours=ours)
