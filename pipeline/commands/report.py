"""``edgeticket report``: a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket


def report(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|REPORTS...",
            help="The folder of a run, reports, or folders of them; also a bundle that they are "
            "of, and JSON of `edgeticket diff`.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The page to write.")
    ] = Path("report.html"),
) -> None:
    """Make a page of a run, or of any reports: one HTML file that loads nothing.

    First whether to believe it, what was won, whether all machines answer alike, and whether
    it is in its budget; then tables and charts, the samples that changed their answer, the
    machine, and how to do it again. `edgeticket run` leaves such a page as `report.html`.

        edgeticket report runs/demo -o page.html

        edgeticket report runs/demo device-reports diff.json -o page.html
    """
    print(edgeticket.report(reports, out=out))
