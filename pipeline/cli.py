"""The program `edgeticket`: its commands, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from edgeticket import device_runner
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.commands.compare import compare
from edgeticket.pipeline.commands.convert import convert
from edgeticket.pipeline.commands.data import fetch
from edgeticket.pipeline.commands.devices import bench, device_app
from edgeticket.pipeline.commands.diff import diff
from edgeticket.pipeline.commands.experiments import experiment, results
from edgeticket.pipeline.commands.history import history
from edgeticket.pipeline.commands.models import bundle, init, inspect
from edgeticket.pipeline.commands.recipes import run, sensitivity
from edgeticket.pipeline.commands.report import report
from edgeticket.pipeline.commands.search import predict
from edgeticket.pipeline.commands.tickets import pack, unpack
from edgeticket.pipeline.commands.why import why
from edgeticket.pipeline.text import plain

app = typer.Typer(
    help="Find the smallest network that still does the job, and prove it on the device.\n\n"
    "Start with `edgeticket run demo`. Measure what comes out of it on boards with "
    "`edgeticket bench runs/demo --on ssh://pi@raspberrypi.local`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

# In the order of --help.
for command in (
    *(run, init, inspect, predict, convert, bundle, fetch, sensitivity, diff, why, compare),
    *(history, report, bench, experiment, results, pack, unpack),
):
    app.command()(command)
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
    print(f"edgeticket: error: {plain(sentence)}", file=sys.stderr)
    return 2
