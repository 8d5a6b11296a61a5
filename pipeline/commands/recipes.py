"""The commands that carry out a recipe: `edgeticket run` and `edgeticket sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.commands.options import DataFolder, Overrides, RecipeFile
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console


def run(
    recipe: RecipeFile,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="DIR", help="Results go to DIR/NAME/, NAME being the recipe's."
        ),
    ] = Path("runs"),
    overrides: Overrides = None,
    data: DataFolder = None,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure again, even if nothing has changed.")
    ] = False,
) -> None:
    """Recipe to ticket to int8 artifacts to bundle, measured here and compared.

    Leaves in DIR/NAME/: `bundle/` and `bundle.zip` (copy either to a device), `reports/`
    (one JSON per artifact), `report.html` (look at it), `reference/` (for `diff`), `summary.md`
    and `summary.json`, `model-card.md` and `bom.cdx.json` (what it is made of, as CycloneDX).
    Stop it at any time; the same command goes on where it was. A second run of an unchanged
    recipe takes seconds. Files that you put into DIR/NAME/ stay there.

        edgeticket run demo

        edgeticket run mine.yaml --set train.epochs=3 -o trial
    """
    console = open_console()
    summary = edgeticket.run(
        recipe,
        out=out,
        overrides=overrides or [],
        data=data,
        remeasure=remeasure,
        progress=Bars(console),
    )
    summary.print(console)


def sensitivity(
    recipe: RecipeFile,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="DIR", help="The result goes to DIR/NAME/sensitivity.json."
        ),
    ] = Path("runs"),
    overrides: Overrides = None,
    data: DataFolder = None,
) -> None:
    """Which layers suffer from int8: each alone is rounded, the others stay in float32.

    Prints accuracy, agreement with float32 and KL divergence on the validation set, the most
    costly layer first. Layers that cost too much can be named under `keep_fp32` in `ptq` or
    `qat`. Stop it at any time; the same command goes on where it was.

        edgeticket sensitivity demo
    """
    console = open_console()
    found = edgeticket.sensitivity(
        recipe, out=out, overrides=overrides or [], data=data, progress=Bars(console)
    )
    found.print(console)
