"""The commands `edgeticket pack` and `edgeticket unpack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.text import open_console

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A network: network.json and weights.safetensors."),
]
Init = Annotated[
    str,
    typer.Option(metavar="NAME", help="How its weights were drawn: `model.init` of the recipe."),
]


def pack(
    network: Folder,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The .ticket file to write.")
    ],
    init: Init = "signed_constant",
    init_kept: Annotated[
        float, typer.Option(metavar="SHARE", help="`model.init_kept` of the recipe, up to 1.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="`seed` of the recipe.")] = 0,
    settled: Annotated[
        str | None,
        typer.Option(
            metavar="ZEROS,ONES,SEED",
            help="What chance decided of the mask, as `settled` in the log of the run has it: "
            "0.4,0,1.",
        ),
    ] = None,
) -> None:
    """A strong ticket's network to a .ticket file: seed, coded mask, statistics of batch norm.

    Every weight must be zero or what the seed draws; a run of a recipe that ends so leaves a
    .ticket file by itself. docs/ticket-format.md describes the file.

        edgeticket pack network -o mine.ticket --seed 3
    """
    sizes = edgeticket.pack(
        network,
        out=out,
        init=init,
        init_kept=init_kept,
        seed=seed,
        settled=None if settled is None else _settled(settled),
    )
    open_console().print(
        f"{out}: {sizes.size_bytes:,} bytes, {sizes.mask_bytes:,} of them for the mask of "
        f"{sizes.weights:,} weights, {sizes.kept / sizes.weights:.1%} kept: "
        f"{sizes.bits_per_weight:.3f} bits a weight (entropy {sizes.bound_bits_per_weight:.3f})",
        highlight=False,
        soft_wrap=True,
    )


def _settled(text: str) -> tuple[float, float, int]:
    """
    Raises:
        InputError: that are no two shares and a seed.
    """
    try:
        zeros, ones, seed = text.split(",")
        return float(zeros), float(ones), int(seed)
    except ValueError:
        raise InputError(
            f"--settled {text!r}: two shares and a seed are wanted, such as 0.4,0,1"
        ) from None


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .ticket file.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Where the network goes; made if need be."),
    ],
) -> None:
    """A .ticket file to the network that it was made of, bit for bit.

    Leaves network.json, weights.safetensors (PyTorch's names, dense with zeros) and
    mask.safetensors in DIR. A recipe takes the weights as `model.weights`.

        edgeticket unpack mine.ticket -o network
    """
    ticket = edgeticket.unpack(file, out=out)
    open_console().print(
        f"{out}: {ticket.network.arch}, {ticket.init} from seed {ticket.seed}, "
        f"{ticket.mask.density:.1%} of its weights kept; its digest is right",
        highlight=False,
        soft_wrap=True,
    )
