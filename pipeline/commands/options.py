"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where data sets and weights lie; default: $EDGETICKET_DATA, "
        "else ~/.cache/edgeticket/data.",
    ),
]

RecipeFile = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE", help="A recipe file, or the name of a ready one, such as `demo`."
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value of the recipe: `--set train.epochs=3`, "
        "`--set compress.0.budget.macs=0.3`. Repeatable.",
    ),
]
