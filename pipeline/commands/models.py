"""The commands about models of one's own: `edgeticket inspect`, `init` and `bundle`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.pipeline.commands.options import DataFolder
from edgeticket.pipeline.output_folder import check_output, json_with, write_output
from edgeticket.pipeline.progress import Bars
from edgeticket.pipeline.text import open_console, plain

if TYPE_CHECKING:
    from edgeticket.device_runner.manifest import Manifest, TensorSpec


def inspect(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RECIPE|FILE",
            help="What to look at: a recipe; or `torchvision:NAME`, `timm:NAME`, "
            "`import:package.module:function`, or one of this project's, such as `resnet20`; or a "
            ".onnx, .pt2 or .tflite file.",
        ),
    ],
    size: Annotated[
        str,
        typer.Option(
            metavar="CxHxW[,...]",
            help="Channels, height and width of one input, for a network that is named; or another "
            "shape without the batch; several inputs with commas: 3x64x64,10.",
        ),
    ] = "3x224x224",
    args: Annotated[
        list[str] | None,
        typer.Option(
            "--arg",
            metavar="KEY=VALUE",
            help="An argument of the network's function: `--arg num_classes=10`. Repeatable.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", "-o", "--out", metavar="FILE", help="Write all of it as JSON, too."),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Say what would happen to a network, before any work.

    The verdict comes first: whether it becomes int8, on which runtimes, and how much of it. Then
    what is in the way; its layers with parameters and multiply-accumulates; which passes can act
    on it, and where; how each of its operators is written for each runtime. Of a model file also
    its inputs and outputs with their scales.

        edgeticket inspect torchvision:mobilenet_v2 --size 3x224x224

        edgeticket inspect model.onnx --json model.json

    Exit codes: 0 int8 files can be made of it, 1 they cannot (of a file that is int8 already, or
    TFLite: its runtime refuses it), 2 it cannot be read.
    """
    ours = json_with("layers", "operators", "files")
    if json_file is not None:
        check_output(json_file, ours=ours)
    console = open_console()
    found = edgeticket.inspect(
        subject,
        size=shape_given(size),
        args=arguments_given(args or []),
        data=data,
        progress=Bars(console),
    )
    found.print(console)
    if json_file is not None:
        write_output(json_file, format_json(to_json(found)), ours=ours)
    raise typer.Exit(0 if found.usable else 1)


def init(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A network, as in `inspect`, or FILE.onnx or FILE.pt2; a name alone is "
            "torchvision's, such as `mobilenet_v2`.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="Pictures in one folder for each class, DATA/CLASS/*.jpg; or DATA/train/CLASS "
            "with DATA/val/CLASS; or a .npz with an array for each input. With --task its data "
            "(docs/data.md). Default: random numbers.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is asked of the outputs, if not classes. `boxes`: DATA is a folder with "
            "a .json of COCO and its pictures, or YOLO's images/ and labels/. `masks`: a folder "
            "with pictures/ and masks/. `series`: a .csv, a row for each step. `images`: a folder "
            "of pictures. `labels`, `keypoints`, `embeddings`, `anomaly`, `numbers`: a .csv, a row "
            "for each picture. Any of them: a .npz "
            "with targets beside the inputs (docs/tasks.md).",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE.yaml", help="The recipe to write.")
    ] = Path("recipe.yaml"),
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Trained weights, safetensors or a state_dict; tried before the recipe is "
            "written. Without them the recipe trains.",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1024,
            metavar="PIXELS",
            help="Height and width of one input; default: what most pictures have, up to 224.",
        ),
    ] = None,
    takes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHAPE[,SHAPE]",
            help="The shape of one input without the batch, 3x64x64, or of each, 3x64x64,10, where "
            "neither pictures nor a .npz say it; ONNX files say it themselves. Repeatable: an "
            "input each.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a recipe for a network and its data; it runs as it is.

    Numbers in it are chosen from what is in the folder, and comments say what they are for. With
    trained weights, or an ONNX file, it makes int8 files; passes that prune stand in comments.

        edgeticket init mobilenet_v2 photos -o mine.yaml

        edgeticket init resnet18 photos --weights best.pth

        edgeticket init model.onnx photos

        edgeticket init import:nets:detector scenes --task boxes

        edgeticket init import:nets:gru power.csv --task series --takes 24x2

        edgeticket init detector.onnx

    A network that tells no classes gets, without --task, a recipe without training, which says
    how near int8 stays to float32: on pictures, on a .npz with an array for each input, or on
    random numbers.
    """
    edgeticket.init(
        model,
        folder,
        out=out,
        task=task,
        weights=weights,
        size=size,
        takes=_shapes(",".join(takes or ())),
        force=force,
    )
    file = shlex.quote(str(out))
    _say(f"{out}: next, `edgeticket inspect {file}`, then `edgeticket run {file}`")


def bundle(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help=".tflite and .onnx files.")
    ],
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Test examples: a folder of pictures (DIR/CLASS/*.jpg, or DIR/*.jpg) or of .npy "
            "files; or .npy; or .npz with `inputs`, or an array for each input, and perhaps "
            "`labels`.",
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            metavar="N",
            help="Instead of --samples: N random ones, which the bundle and its reports call so.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="Of --random: draws other ones.")
    ] = 0,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The class of each sample: .npy, or text with a number a line; default: what "
            "--samples says.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes, one a line in the order of their numbers; for a folder of "
            "pictures, those of the class folders.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is asked of the outputs: masks, boxes, numbers, keypoints, ... "
            "(docs/tasks.md). Default: classes where samples have them, else fidelity alone.",
        ),
    ] = None,
    task_settings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE|FILE",
            help="Settings of --task as recipes have them, e.g. form=channels_last or "
            "scores='{outputs: [0], count: 3}'; or a file of them as JSON. Repeatable.",
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is right, for --task: a .npz of the arrays that the task has. Without, "
            "reports tell on how many samples answers agree with the float32 file's.",
        ),
    ] = None,
    mean: Annotated[
        str,
        typer.Option(
            metavar="NUMBERS",
            help="Taken off the samples before the model, one number or one per channel, in 0 to "
            "255 for pictures: 127.5 or 123.7,116.3,103.5. Default: nothing.",
        ),
    ] = "",
    std: Annotated[
        str, typer.Option(metavar="NUMBERS", help="They are then divided by this.")
    ] = "",
    letterbox: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Pictures go in whole, with grey around them, as a recipe's data.letterbox does; "
            "boxes are in pixels of the pictures themselves then. Default: resized, and cut to the "
            "middle.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="NHWC|NCHW|...", help="Order of the models' inputs, if shapes do not tell."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="The bundle: DIR, and DIR.zip.")
    ] = Path("bundle"),
) -> None:
    """Make a bundle of any model files, for `device-runner`, `compare` and `diff --alone`.

    For models that were trained and converted elsewhere, with any number of inputs and outputs.
    Quantised ones are handled by their scale and zero point, which are read from the files; an
    open batch becomes 1. Pictures are resized to what the first model takes, shorter side first,
    and cut to the middle. With classes for the samples of a classifier the bundle tells accuracy;
    with --task and --targets it tells the metrics of other tasks; any bundle tells fidelity: how
    near outputs are to those of the float32 file. Beside DIR lie DIR.model-card.md and
    DIR.bom.cdx.json: what it is made of, as CycloneDX.

        edgeticket bundle model.tflite model.onnx --samples photos --mean 127.5 --std 127.5

        edgeticket bundle detector.onnx detector.tflite --random 100

        edgeticket bundle unet.onnx --samples x.npz --task masks --targets masks.npz

        device-runner bench bundle
    """
    manifest = edgeticket.bundle(
        models,
        samples=samples,
        labels=labels,
        names=names,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        layout=layout,
        task=task,
        task_settings=task_settings or [],
        targets=targets,
        out=out,
        say=_say,
        random=random,
        seed=seed,
        letterbox=_letterbox(letterbox),
    )
    for artifact in manifest.artifacts:
        taken = "; ".join(map(_tensor, artifact.inputs))
        given = "; ".join(map(_tensor, artifact.outputs))
        _say(f"{artifact.id}: {artifact.runtime} {artifact.precision}, takes {taken}")
        if len(artifact.outputs) > 1:
            _say(f"{artifact.id}: gives {given}")
    _say(f"{out} and {out}.zip, {_preparation(manifest, mean=mean)}{_asked(manifest)}")
    _say(f"next, `device-runner bench {shlex.quote(str(out))}`")


def _preparation(manifest: Manifest, *, mean: str) -> str:
    """What happens to samples before the model, in words."""
    if manifest.samples.random is not None:
        return (
            f"{manifest.samples.count} random samples (seed {manifest.samples.random}): noise, "
            "which says how near files are to one another, and nothing of how good they are"
        )
    told = f"{manifest.samples.count} samples"
    if len(manifest.inputs) > 1:
        return f"{told} for {len(manifest.inputs)} inputs, which go in as they are"
    for step in manifest.capture:
        size = "x".join(map(str, step.get("size", ())))
        told += {
            "letterbox": f", letterboxed to {size}",
            "resize": f", resized to {size or step.get('shorter')}"
            + " (the shorter side)" * (not size),
            "center_crop": f", the middle {size}",
            "grey": ", grey",
        }[step["op"]]
    if mean:
        return f"{told}, scaled by --mean and --std"
    if manifest.capture:
        return (
            f"{told}; pixels go in as 0 to 255: give --mean and --std if the models were trained "
            "with others"
        )
    return f"{told}, which go in as they are"


def _asked(manifest: Manifest) -> str:
    """That nothing is asked of the outputs, where somebody may have meant to."""
    from edgeticket.device_runner.manifest import CLASSES, NOTHING

    name, has_targets = manifest.task.name, manifest.samples.targets is not None
    if name != NOTHING and not has_targets:
        return f"; without targets: reports tell when {name} agree, and fidelity"
    if name != NOTHING or manifest.samples.random is not None:
        return "" if name == CLASSES or not has_targets else f"; task {name}"
    return "; without classes for them: reports tell fidelity alone"


def _tensor(spec: TensorSpec) -> str:
    """One input or output in a few words."""
    codes = "" if spec.scale is None else f", scale {spec.scale:g}, zero point {spec.zero_point}"
    layout = "" if spec.layout == "plain" else f" {spec.layout}"
    return f"{spec.dtype}{layout} {list(spec.shape)}{codes}"


def _say(line: str) -> None:
    open_console().print(plain(line), soft_wrap=True)


def _letterbox(text: str | None) -> list[int] | None:
    if text is None:
        return None
    sides = [int(word) for word in text.split("x") if word.isdecimal()]
    if len(sides) != 2 or text.count("x") != 1:
        raise InputError(f"--letterbox {text}: write it as HxW, e.g. 240x320")
    return sides


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise InputError(f"{flag} {text}: write numbers with commas, e.g. 127.5,127.5") from None


def shape_given(size: str) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    try:
        shapes = _shapes(size)
    except InputError:
        shapes = ()
    if not shapes:
        raise InputError(f"--size {size}: write it as CxHxW, e.g. 3x224x224")
    return shapes[0] if len(shapes) == 1 else shapes


def _shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """``3x64x64,10`` -> a shape for each input."""
    shapes = []
    for part in filter(None, text.split(",")):
        sizes = [word for word in part.split("x") if word.isdecimal() and int(word) > 0]
        if len(sizes) != part.count("x") + 1 or len(sizes) > 7:
            raise InputError(f"{text}: write shapes as 3x64x64, with a comma between several")
        shapes.append(tuple(map(int, sizes)))
    return tuple(shapes)


def arguments_given(pairs: list[str]) -> dict[str, Any]:
    from edgeticket.pipeline.recipe.reading import parse_value

    given = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise InputError(f"--arg {pair}: write it as key=value, e.g. num_classes=10")
        given[key] = parse_value(text, place=f"--arg {pair}")
    return given
