"""Grids of runs, and the document that is made of their lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path

if TYPE_CHECKING:
    from edgeticket.pipeline.progress import Progress


def experiment(
    file: StrPath,
    *,
    out: StrPath = "results",
    jobs: int = 1,
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> int:
    """Run a grid, variant x sparsity x seed, and append one JSON line for each run.

    Lines land in ``out/NAME.jsonl``, NAME being the experiment's; what has a line is not run again.

    Args:
        file: an experiment file, or the name of a ready one, such as ``lenet300_fashion``.
        out: where lines go.
        jobs: runs at a time, each on one core.
        data: where data sets and weights lie, as for `run`.
        progress: where to show how far it is; None: nowhere.

    Returns:
        How many runs failed; the others have lines all the same.

    Raises:
        InputError: the file cannot be read or used, or ``out`` holds something else.
    """
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.experiment.file import read_experiment
    from edgeticket.pipeline.experiment.grid import run_experiment
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.recipe.ready import ready_file

    path = ready_file(Path(file), kind="experiment")
    return run_experiment(
        read_experiment(path),
        folder=path.parent,
        out=Path(out),
        data_folder=data_folder(optional_path(data)),
        jobs=jobs,
        progress=progress or QUIET,
    )


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
