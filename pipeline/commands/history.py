"""``edgeticket history``: reports over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.output_folder import check_output, json_with, write_output
from edgeticket.pipeline.text import open_console


def history(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORTS...", help="Folders of reports of many days, or single reports."
        ),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all of it as JSON, too."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page to look at, too: HTML, with charts."),
    ] = None,
) -> None:
    """Show what became of each artifact on each board, run after run, and which change stands out.

    Runs of one artifact on one board, with as many threads, are a series. Of its VALID runs the
    p90 is looked at: where it changes by more than chance explains, and what was another from then
    on (the runtime, the kernel, the artifact). Outputs that are no longer the same bit for bit are
    told, too.

        edgeticket history reports/ --page history.html

        edgeticket compare reports/ new/ --against history      # the gate for CI

    docs/history.md tells how a change is found, and has jobs for GitHub and GitLab.

    Exit codes: 0 shown, 2 something that was given cannot be read.
    """
    from edgeticket.pipeline.history.table import print_history

    ours = json_with("series", "passed_over")
    if json_file is not None:
        check_output(json_file, ours=ours)
    if page is not None:
        from edgeticket.pipeline.page.file import check_place

        check_place(page)
    found = edgeticket.history(reports)
    if json_file is not None:
        text = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
        write_output(json_file, text.encode(), ours=ours)
    if page is not None:
        from edgeticket.pipeline.page.over_time import write_history

        write_history(found.stories, found.passed_over, page)
    print_history(found.stories, found.passed_over, open_console())
