"""The commands `edgeticket experiment` and `edgeticket results`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.commands.options import DataFolder
from edgeticket.pipeline.commands.worker_options import Needs, Scheduler, TlsCa, TlsCert, TlsKey
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console


def experiment(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An experiment file, or the name of a ready one, such as `lenet300_fashion`.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Lines are appended to DIR/NAME.jsonl, NAME being the experiment's.",
        ),
    ] = Path("results"),
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Runs at a time on this machine, each on one core; default 1."
        ),
    ] = None,
    scheduler: Scheduler = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    needs: Needs = None,
    data: DataFolder = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Also make a page of all lines of this experiment."),
    ] = None,
) -> None:
    """Run a grid, variant × sparsity × seed, and write one JSON line for each run.

    Stop it at any time; the same command goes on where it was and skips what has a line. The
    test set is read once a run, at its end. `edgeticket results` makes the tables. Exit code 1:
    runs failed, the others are done.

    Runs go to threads of this machine, or to Dask workers on any number of machines: start `dask
    scheduler` and `dask worker`, and give the scheduler's address (docs/many-machines.md). Runs
    whose worker ends are begun again elsewhere.

        edgeticket experiment lenet300_fashion --jobs 2 --page fashion.html
        edgeticket experiment lenet300_fashion --scheduler tls://10.0.0.1:8786
    """
    failed = edgeticket.experiment(
        file,
        out=out,
        jobs=jobs,
        scheduler=scheduler,
        tls=(tls_ca, tls_cert, tls_key),
        needs=needs or (),
        data=data,
        page=page,
        progress=Bars(open_console()),
    )
    raise typer.Exit(1 if failed else 0)


def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the result lines are.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.md", help="The document to write.")
    ] = Path("docs/results.md"),
) -> None:
    """Result lines to a document with tables and plots: mean ± standard deviation over seeds.

    Reads DIR/*.jsonl; DIR/published.yaml for numbers from papers, and DIR/runs/NAME.md, copies of
    the `summary.md` of single runs, if there are any. The same lines give the same bytes.

        edgeticket results results -o docs/results.md
    """
    for path in edgeticket.results(folder, out=out):
        print(path)
