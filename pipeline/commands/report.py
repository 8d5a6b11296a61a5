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
            "of, and JSON of `edgeticket diff`. Or the folder of a search, or lines of "
            "experiments.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The page to write.")
    ] = Path("report.html"),
    node_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a page: the times of one report of `device-runner layers`, for Model "
            "Explorer.",
        ),
    ] = None,
) -> None:
    """Make a page of a run, or of any reports: one HTML file that loads nothing.

    First whether to believe it, what was won, whether all machines answer alike, and whether
    it is in its budget; then tables and charts, the samples that changed their answer, the
    machine, and how to do it again. `edgeticket run` leaves such a page as `report.html`.

        edgeticket report runs/demo -o page.html

        edgeticket report runs/demo device-reports diff.json -o page.html

        edgeticket report runs/demo-search -o search.html

        edgeticket report results -o experiments.html

        edgeticket report layers.json --node-data times.json
    """
    if node_data is not None:
        print(_write_times(reports, node_data))
        return
    print(edgeticket.report(reports, out=out))


def _write_times(reports: list[Path], file: Path) -> Path:
    from edgeticket.device_runner.errors import InputError
    from edgeticket.device_runner.layers.report import read_layers
    from edgeticket.pipeline.diff.node_data import format_node_data, is_node_data, times_of
    from edgeticket.pipeline.output_folder import write_output

    if len(reports) != 1 or reports[0].is_dir():
        raise InputError("--node-data takes one report of `device-runner layers`: name that file")
    times = times_of(read_layers(reports[0]))
    write_output(file, format_node_data(times), ours=is_node_data)
    return file
