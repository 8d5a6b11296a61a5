"""The commands about models of one's own: `edgeticket inspect`, `init` and `bundle`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.recipe.ready import ready_file
from edgeticket.pipeline.screen import Screen

if TYPE_CHECKING:
    from edgeticket.models.network import Network

Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data folder, as in `run`.")
]


def inspect(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RECIPE|FILE",
            help="A recipe; or `torchvision:NAME`, `timm:NAME`, `import:package.module:function`, "
            "or one of this project's, such as `resnet20`; or a .onnx or .tflite file.",
        ),
    ],
    size: Annotated[
        str, typer.Option(metavar="CxHxW", help="What a network from elsewhere takes.")
    ] = "3x224x224",
    args: Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="KEY=VALUE", help="An argument of the network; often."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="All of it as JSON.")
    ] = None,
    data: Data = None,
) -> None:
    """What would happen to a network, before any work.

    Its layers with parameters and multiply-accumulates; which passes can act on it, and where;
    how each of its operators is written for each runtime; and what is in the way. Of a model file
    also its inputs and outputs with their scales. Exit code 1: no int8 file can be made of it; of
    one that is int8 already, or TFLite: its runtime refuses it.
    """
    from edgeticket.pipeline.inspect.file import RUNTIMES, inspect_file
    from edgeticket.pipeline.inspect.network import inspect_network

    if Path(subject).suffix in RUNTIMES:
        seen = inspect_file(Path(subject))
        seen.print(Screen())
        if json_file is not None:
            write_atomic(json_file, format_json(to_json(seen)))
        raise typer.Exit(0 if seen.usable else 1)
    network = _network(subject, size=size, args=args or [], data=data)
    found = inspect_network(network)
    found.print(Screen())
    if json_file is not None:
        write_atomic(json_file, format_json(to_json(found)))
    raise typer.Exit(0 if found.files["tflite-int8"].possible else 1)


def init(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="As in `inspect`; a name alone is torchvision's, such as `mobilenet_v2`.",
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Pictures, FOLDER/CLASS/*.jpg; see `run`.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.yaml", help="The recipe to write.")
    ] = Path("recipe.yaml"),
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Trained weights, instead of training."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=8, max=1024, metavar="PIXELS", help="Default: what the pictures have."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an older file.")] = False,
) -> None:
    """Write a recipe for a network and a folder of pictures; it runs as it is.

    Numbers in it are chosen from what is in the folder, and comments say what they are for.
    """
    from edgeticket.models.imported import look_in
    from edgeticket.pipeline.inspect.first_recipe import Wishes, write_first_recipe

    if out.exists() and not force:
        raise InputError(f"{out} is there already: give another -o, or --force to replace it")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("-.") or "recipe"
    look_in((out.parent, Path()))
    text = write_first_recipe(Wishes(name, model, folder, weights, size))
    write_atomic(out, text.encode())
    Screen().print(
        f"{out}: next, `edgeticket inspect {out}` and `edgeticket run {out}`",
        highlight=False,
        soft_wrap=True,
    )


def bundle(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help=".tflite and .onnx files.")
    ],
    samples: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Test examples: .npy, or .npz with `inputs` (and `labels`); uint8 or float32.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The class of each: .npy, or a number a line."),
    ] = None,
    names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")
    ] = None,
    mean: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Of pixels, one or one per channel: 127,127,127.")
    ] = "",
    std: Annotated[str, typer.Option(metavar="NUMBERS", help="Likewise: (x - mean) / std.")] = "",
    layout: Annotated[
        str | None,
        typer.Option(metavar="NHWC|NCHW|...", help="Of the models' inputs, if shapes do not tell."),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Makes DIR and DIR.zip.")
    ] = Path("bundle"),
) -> None:
    """Make a bundle of any model files, for `device-runner`, `compare` and `diff --alone`.

    For models that were trained and converted elsewhere. Quantised inputs and outputs are
    handled by their scale and zero point, which are read from the files; an open batch becomes 1.
    """
    from edgeticket.pipeline.external.bundle import bundle_foreign

    artifacts = bundle_foreign(
        models,
        samples=samples,
        labels=labels,
        names=names,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        layout=layout,
        out=out,
    )
    for artifact in artifacts:
        x = artifact.input
        codes = "" if x.scale is None else f", scale {x.scale:g}, zero point {x.zero_point}"
        print(f"{artifact.id}: {artifact.runtime} {artifact.precision}, takes {x.dtype} {x.layout} "
              f"{list(x.shape)}{codes}")  # fmt: skip
    print(f"{out} and {out}.zip: next, `device-runner bench {out}`")


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise InputError(f"{flag} {text}: write numbers with commas, e.g. 127.5,127.5") from None


def _network(subject: str, *, size: str, args: list[str], data: Path | None) -> Network:
    """The network of a recipe, or a random one of the architecture that is named."""
    from edgeticket.models import ARCHITECTURES
    from edgeticket.models.imported import look_in
    from edgeticket.models.own import is_own
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.network.file import new_network
    from edgeticket.pipeline.onnx_import import model_args
    from edgeticket.pipeline.recipe import read_recipe
    from edgeticket.pipeline.recipe.reading import parse_value
    from edgeticket.pipeline.run.candidate import Job

    if subject not in ARCHITECTURES and not is_own(subject):
        path = ready_file(Path(subject), kind="recipe")
        recipe = read_recipe(path)
        folder = data_folder(data)
        job = Job.open(
            recipe,
            recipe_folder=path.parent,
            store=Path("runs") / ".stages",
            data_folder=folder,
            progress=Bars(Screen()),
        )
        arch = recipe.model.architecture
        takes = job.data.input_shape if is_own(arch) else ()
        given = model_args(recipe.model, folders=job.folders)
        return new_network(arch, given, seed=0, takes=takes)
    look_in((Path(),))
    shape = tuple(int(n) for n in size.split("x") if n.isdecimal() and int(n) > 0)
    if len(shape) != 3 or size.count("x") != 2:
        raise InputError(f"--size {size}: write it as CxHxW, e.g. 3x224x224")
    given = {}
    for pair in args:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise InputError(f"--arg {pair}: write it as key=value, e.g. num_classes=10")
        given[key] = parse_value(text, place=f"--arg {pair}")
    return new_network(subject, given, seed=0, takes=shape if is_own(subject) else ())
