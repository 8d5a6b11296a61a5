"""Grids of runs, and the document that is made of their lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path

if TYPE_CHECKING:
    from edgeticket.pipeline.progress import Progress


def experiment(
    file: StrPath,
    *,
    out: StrPath = "results",
    jobs: int | None = None,
    scheduler: str | None = None,
    tls: tuple[Path | None, Path | None, Path | None] = (None, None, None),
    needs: Sequence[str] = (),
    data: StrPath | None = None,
    page: StrPath | None = None,
    progress: Progress | None = None,
) -> int:
    """Run a grid, variant x sparsity x seed, and append one JSON line for each run.

    Lines land in ``out/NAME.jsonl``, NAME being the experiment's; what has a line is not run again.

    Args:
        file: an experiment file, or the name of a ready one, such as ``lenet300_fashion``.
        out: where lines go.
        jobs: runs at a time on this machine, each on one core; None: one.
        scheduler: the address of a Dask scheduler, whose workers take the runs instead.
        tls: PEM files of the certificate of who signed the scheduler's, of this machine's
            certificate and of its key; None: as Dask's configuration says.
        needs: resources of workers that a run holds, ``NAME`` or ``NAME=AMOUNT``.
        data: where data sets and weights lie, as for `run`.
        page: where to make a page of the experiment's lines, as `report` does; None: nowhere.
        progress: where to show how far it is; None: nowhere.

    Returns:
        How many runs failed; the others have lines all the same.

    Raises:
        InputError: the file cannot be read or used, ``out`` holds something else, or no scheduler
            answers.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.experiment.cluster import read_workers
    from edgeticket.pipeline.experiment.file import read_experiment
    from edgeticket.pipeline.experiment.grid import run_experiment
    from edgeticket.pipeline.experiment.page import write_experiment_page
    from edgeticket.pipeline.page.file import check_place
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.recipe.ready import ready_file

    path = ready_file(Path(file), kind="experiment")
    grid = read_experiment(path)
    if page is not None:
        check_place(Path(page))
    failed = run_experiment(
        grid,
        folder=path.parent,
        out=Path(out),
        data_folder=data_folder(optional_path(data)),
        on=read_workers(jobs=jobs, scheduler=scheduler, tls=tls, needs=needs),
        progress=progress or QUIET,
    )
    lines = Path(out) / f"{grid.name}.jsonl"
    if page is not None and lines.is_file():
        write_experiment_page([lines], Path(page))
    return failed


def results(folder: StrPath, *, out: StrPath = "docs/results.md") -> tuple[Path, ...]:
    """Make a document of result lines: tables and plots, mean and standard deviation over seeds.

    Args:
        folder: holds ``*.jsonl``, as `experiment` writes them; perhaps ``published.yaml``, and
            ``runs/NAME.md``, a run's ``summary.md`` each.
        out: the Markdown file; plots go into a folder of its name.

    Returns:
        The document, and its plots.

    Raises:
        InputError: there are no lines, they are damaged, or ``out`` cannot be written.
    """
    from edgeticket.pipeline.experiment.results import write_results

    return (Path(out), *write_results(Path(folder), Path(out)))
