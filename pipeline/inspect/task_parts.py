"""What the data of a task decide of a recipe: the network, `data`, and the settings of `task`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.models.network import Network
from edgeticket.pipeline.data.given import read_arrays
from edgeticket.pipeline.data.layouts.table_file import Table, read_table
from edgeticket.pipeline.data.named import target_names
from edgeticket.pipeline.data.scaling import IMAGENET_MEAN, IMAGENET_STD
from edgeticket.pipeline.inspect.detector_head import head_of
from edgeticket.pipeline.inspect.first_network import Chosen, Wishes, choose_alone
from edgeticket.pipeline.inspect.shapes import input_shapes, output_shapes, shown
from edgeticket.pipeline.inspect.task_data import Laid, lay_boxes, lay_masks

LOOKED_AT = 100  # pictures whose size is read
LARGEST = 320
TAKES = "--takes says what it takes"


@dataclass(frozen=True)
class TaskPart:
    """What the data decide of a recipe."""

    data: Mapping[str, Any]
    task: Mapping[str, Any]
    chosen: Chosen
    count: int  # examples
    notes: str = ""


def boxes_part(wishes: Wishes, data: Path) -> TaskPart:
    laid = lay_boxes(data)
    chosen, sides = of_pictures(wishes, laid)
    outputs = output_shapes(chosen.network, way_out=TAKES)
    head = head_of(outputs, laid.classes, sides)
    if head is None:
        raise InputError(
            f"{wishes.model} gives {shown(outputs)} for {laid.classes} classes, and shapes alone "
            "do not say where scores and boxes are in that: write `task` by hand, docs/tasks.md"
            "#boxes has its settings and docs/data.md what else the recipe has"
        )
    finished = head["decode"]["kind"] == "direct"
    if finished and not chosen.trained:
        raise InputError(
            f"{wishes.model} gives boxes in a list, {shown(outputs)}, which says nothing of what "
            "should find what, so that no loss can train it: give trained weights with --weights, "
            "or let it return the maps of its head, or write train.loss by hand (docs/tasks.md)"
        )
    letterbox = {"letterbox": {"size": list(sides)}}
    notes = "  # boxes move along; the whole picture, the rest filled\n"
    return TaskPart(
        {**laid.source, **letterbox, **pixels_of(chosen.network, plain=finished)},
        {"name": "boxes", "input": list(sides), **head},
        chosen,
        len(laid.pictures),
        notes,
    )


def masks_part(wishes: Wishes, data: Path) -> TaskPart:
    laid = lay_masks(data)
    chosen, sides = of_pictures(wishes, laid)
    shape = output_shapes(chosen.network, way_out=TAKES)[0]
    task: dict[str, Any] = {"name": "masks"}
    channels = None
    if len(shape) == 4 and tuple(shape[2:]) != sides and tuple(shape[1:3]) == sides:
        task["form"], channels = "channels_last", shape[3]
    elif len(shape) == 4:
        channels = shape[1]
        if shape[2] != sides[0] and sides[0] % shape[2] == 0:
            task |= {"enlarge": sides[0] // shape[2], "by": "bilinear"}
    if channels == 1:
        task["activation"] = "sigmoid"
    if channels is None or max(channels, 2) < laid.classes:
        raise InputError(
            f"{wishes.model} gives {shown([shape])}, and the masks of {data} have "
            f"{laid.classes} classes: it must give a number for each class and pixel, "
            f"{laid.classes}x{sides[0]}x{sides[1]}"
        )
    resize = {"resize": list(sides)}
    return TaskPart(
        {**laid.source, **resize, **pixels_of(chosen.network)}, task, chosen, len(laid.pictures)
    )


def series_part(wishes: Wishes, data: Path) -> TaskPart:
    """Windows of all columns that hold numbers; how long they are says the network."""
    table = read_table(data, place="DATA")
    columns = [name for name in table.columns if _is_numbers(table, name)]
    if not columns:
        raise InputError(f"{data} has no column of numbers alone: name them in data.series by hand")
    chosen = choose_alone(_with_example(wishes, f"24x{len(columns)}"))
    shapes = chosen.network.input_shapes
    if len(shapes) != 1 or len(shapes[0]) != 2 or len(columns) not in shapes[0]:
        raise InputError(
            f"{wishes.model} takes {shown(shapes)}, and {data} has {len(columns)} columns of "
            f"numbers ({', '.join(columns[:8])}): give --takes with steps x columns for recurrent "
            f"layers with batch_first, e.g. --takes 24x{len(columns)}, or columns x steps for "
            "convolutions; or name the columns in data.series by hand (docs/data.md#series)"
        )
    time_first = shapes[0][1] == len(columns)
    past = shapes[0][0] if time_first else shapes[0][1]
    output = output_shapes(chosen.network, way_out=TAKES)[0]
    if len(output) not in (2, 3) or (len(output) == 3 and output[2] > len(columns)):
        raise InputError(
            f"{wishes.model} gives {shown([output])}: a forecast is [N, steps] of one column or "
            "[N, steps, columns]"
        )
    targets = columns[: 1 if len(output) == 2 else output[2]]
    layout = "time_first" if time_first else "channels_first"
    series = {
        "file": str(data.absolute()),
        "channels": columns,
        "targets": targets,
        "past": past,
        "future": output[1],
        "layout": layout,
    }
    values = [table.numbers(name, key="init") for name in columns]
    scaled = {
        "mean": [float(f"{value.mean():.4g}") for value in values],
        "std": [float(f"{value.std() or 1.0:.4g}") for value in values],
    }
    notes = (
        "  # targets: the columns that are foretold, in their own unit; change them if need be\n"
    )
    return TaskPart(
        {"series": series, **scaled}, {"name": "series"}, chosen, len(table.rows), notes
    )


def _is_numbers(table: Table, column: str) -> bool:
    try:
        table.numbers(column, key="init")
    except InputError:
        return False
    return True


def arrays_part(wishes: Wishes, data: Path) -> TaskPart:
    assert wishes.task is not None
    arrays = read_arrays(data)
    names = target_names(Task(wishes.task, {}))
    if not set(names) & set(arrays):
        raise InputError(
            f"{data} has {', '.join(arrays)}: for task {wishes.task} it needs {names[0]} beside "
            f"the inputs (docs/tasks.md#{wishes.task})"
        )
    shapes, count = input_shapes(arrays, leave=names)
    chosen = choose_alone(wishes if wishes.takes else replace(wishes, takes=shapes))
    pixels = {}
    if len(shapes) == 1 and any(a.ndim == 4 and a.dtype == "uint8" for a in arrays.values()):
        pixels = {k: v for k, v in pixels_of(chosen.network).items() if k != "grey"}
    task: dict[str, Any] = {"name": wishes.task}
    if wishes.task == "boxes":
        sides = chosen.network.input_shapes[0][1:]
        classes = int(arrays["label"].max(initial=0)) + 1 if "label" in arrays else 1
        outputs = output_shapes(chosen.network, way_out=TAKES)
        head = head_of(outputs, classes, (sides[0], sides[1]))
        if head is None:
            raise InputError(
                f"{wishes.model} gives {shown(outputs)} for {classes} classes: write `task` by "
                "hand (docs/tasks.md#boxes)"
            )
        task |= {"input": list(sides), **head}
    return TaskPart({"npz": str(data.absolute()), **pixels}, task, chosen, count)


def of_pictures(wishes: Wishes, laid: Laid) -> tuple[Chosen, tuple[int, int]]:
    """The network, and height and width of what it takes."""
    if not wishes.takes and wishes.size is None:
        side = _side(laid.pictures)
        wishes = replace(wishes, takes=((3, side, side),))
    chosen = choose_alone(wishes, laid.classes)
    shapes = chosen.network.input_shapes
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] not in (1, 3):
        raise InputError(
            f"{wishes.model} takes {shown(shapes)}, which pictures are not: give --takes 3x64x64, "
            "channels, height and width, or data of another kind"
        )
    return chosen, (shapes[0][1], shapes[0][2])


def _side(pictures: Sequence[Path]) -> int:
    """The multiple of 32 that is nearest to what half of the pictures have, up to 320."""
    shorter = []
    for file in pictures[:: max(1, len(pictures) // LOOKED_AT)]:
        try:
            with Image.open(file) as image:
                shorter.append(min(image.size))
        except (OSError, ValueError, SyntaxError):
            continue  # what cannot be read is named when it is decoded
    if not shorter:
        raise InputError("none of the pictures can be read: give a folder of .jpg or .png files")
    return min(LARGEST, max(32, round(statistics.median(shorter) / 32) * 32))


def pixels_of(network: Network, *, plain: bool = False) -> dict[str, Any]:
    channels = network.input_shapes[0][0]
    if plain:
        return {"mean": [0.0] * channels, "std": [255.0] * channels}
    if channels == 1:
        return {"grey": True, "mean": [127.5], "std": [127.5]}
    return {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}


def _with_example(wishes: Wishes, example: str) -> Wishes:
    """So that a network of the user's own is asked for with a shape that fits the data."""
    if wishes.takes or not wishes.model.startswith("import:"):
        return wishes
    raise InputError(
        f"nothing says what {wishes.model} takes: give --takes with its steps and columns, e.g. "
        f"--takes {example}, or columns x steps for convolutions"
    )
