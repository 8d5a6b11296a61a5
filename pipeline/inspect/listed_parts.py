"""What a .csv of files, or pictures as targets, decide of a recipe: the parts of more tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_regular
from edgeticket.pipeline.data.decode import SUFFIXES
from edgeticket.pipeline.data.layouts.columns import SINGLE
from edgeticket.pipeline.data.layouts.table_file import Table, read_table
from edgeticket.pipeline.inspect.first_network import Chosen, Wishes
from edgeticket.pipeline.inspect.shapes import output_shapes, shown
from edgeticket.pipeline.inspect.task_data import PICTURES, Laid
from edgeticket.pipeline.inspect.task_parts import TAKES, TaskPart, of_pictures, pixels_of

SPLIT = "split"


def table_part(wishes: Wishes, data: Path) -> TaskPart:
    """Pictures that a .csv names, with what is right in its other columns.

    Raises:
        InputError: no column names pictures, or none fits the task; a network of another kind.
    """
    assert wishes.task is not None
    table = read_table(data, place="DATA")
    names, folder = _files(table)
    others = [name for name in table.columns if name not in (names, SPLIT)]
    says, fits = _FITTING[wishes.task]
    targets = [name for name in others if fits(table.texts(name, key="init"))]
    if wishes.task in SINGLE:
        targets = targets[:1]
    if not targets:
        raise InputError(
            f"{data} has the columns {', '.join(others[:8]) or 'of files alone'}: for task "
            f"{wishes.task} it needs {says} (docs/data.md#table)"
        )
    pictures = tuple(folder / name for name in table.texts(names, key="init"))
    classes = 0 if wishes.task in SINGLE else len(targets)
    chosen, sides = of_pictures(wishes, Laid({}, folder, pictures, classes))
    source: dict[str, Any] = {"file": str(data.absolute()), "folder": str(folder.absolute())}
    if names != "file":
        source["names"] = names
    source["targets"] = targets
    if SPLIT in table.columns:
        source["split"] = SPLIT
    task = _settings(wishes, chosen, sides, targets)
    read = {"table": source, "resize": list(sides), **pixels_of(chosen.network)}
    notes = "  # targets: columns of what is right; change them if need be\n"
    return TaskPart(read, task, chosen, len(pictures), notes)


def pairs_part(wishes: Wishes, data: Path) -> TaskPart:
    """Pictures as targets; what goes in is made of them, as much smaller as the network enlarges.

    Raises:
        InputError: there are no pictures, or the network gives none.
    """
    files = tuple(sorted(p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES))
    if not data.is_dir() or not files:
        raise InputError(f"{data} has no pictures: give a folder of those that should come out")
    if not wishes.takes and wishes.size is None:
        wishes = replace(wishes, takes=((3, 32, 32),))
    chosen, sides = of_pictures(wishes, Laid({}, data, files, 0))
    shape = output_shapes(chosen.network, way_out=TAKES)[0]
    channels = chosen.network.input_shapes[0][0]
    factor = shape[-1] // sides[1] if len(shape) == 4 else 0
    if not factor or tuple(shape[1:]) != (channels, sides[0] * factor, sides[1] * factor):
        raise InputError(
            f"{wishes.model} gives {shown([shape])} for {channels}x{sides[0]}x{sides[1]}: task "
            "images needs pictures of the same channels, a whole number of times as large"
        )
    large = [side * factor for side in sides]
    plain = {"grey": True} if channels == 1 else {}
    read = {
        "pairs": {"targets": str(data.absolute()), "factor": factor},
        "resize": large,
        **plain,
        "mean": [0.0] * channels,
        "std": [255.0] * channels,
    }
    notes = "" if factor > 1 else "  # pairs.pictures: FOLDER of what goes in, under equal names\n"
    return TaskPart(read, {"name": "images"}, chosen, len(files), notes)


def _files(table: Table) -> tuple[str, Path]:
    """The column that names pictures, and the folder in which they lie."""
    root = table.file.parent
    for column in table.columns:
        first = table.texts(column, key="init")[0]
        if Path(first).suffix.lower() not in SUFFIXES or ".." in Path(first).parts:
            continue
        for folder in (root, *(root / name for name in (*PICTURES, table.file.stem))):
            if is_regular(folder / first):
                return column, folder
        raise InputError(
            f"{table.file} names {first} in column {column}, which lies neither beside it nor in "
            f"{', '.join(PICTURES[:3])}/: put the pictures there, or write data.table by hand "
            "(docs/data.md#table)"
        )
    raise InputError(
        f"{table.file} has no column of pictures ({', '.join(sorted(SUFFIXES))}): give one with "
        "their names (docs/data.md#table), or a .npz with an array for each input"
    )


def _settings(
    wishes: Wishes, chosen: Chosen, sides: tuple[int, int], targets: Sequence[str]
) -> Mapping[str, Any]:
    """Of the task, by what the network gives."""
    shape = output_shapes(chosen.network, way_out=TAKES)[0]
    task: dict[str, Any] = {"name": wishes.task}
    numbers = {"labels": len(targets), "numbers": len(targets), "keypoints": len(targets)}
    wanted = numbers.get(wishes.task or "")
    if wishes.task == "keypoints" and len(shape) == 4 and shape[1] == len(targets) // 2:
        cells = (sides[1] / shape[3], sides[0] / shape[2])
        return {**task, "form": "heatmaps_first", "factor": list(cells), "offset": [0.5, 0.5]}
    if wishes.task == "anomaly" and tuple(shape[1:]) == chosen.network.input_shapes[0]:
        raise InputError(
            f"{wishes.model} gives what it takes, {shown([shape])}: a table has 1 and 0, not what "
            "is to be rebuilt: give a .npz with `anomalous` and `input`, or name data by hand"
        )
    if wanted is not None and (len(shape) != 2 or shape[1] != wanted):
        raise InputError(
            f"{wishes.model} gives {shown([shape])}, and {len(targets)} columns are right "
            f"({', '.join(targets[:8])}): it must give {wanted} numbers, or name the columns in "
            "data.table.targets by hand (docs/data.md#table)"
        )
    if wishes.task == "labels":
        task["activation"] = "sigmoid"  # the loss is that of logits
    if wishes.task == "keypoints":
        task["factor"] = [float(sides[1]), float(sides[0])]
    return task


def _numeric(texts: Sequence[str], *, empty: bool) -> bool:
    try:
        numbers = [float(text) for text in texts if text or not empty]
    except ValueError:
        return False
    return bool(numbers)


_FITTING: Mapping[str, tuple[str, Callable[[Sequence[str]], bool]]] = {
    "labels": (
        "a column for each label, 1, 0 or empty",
        lambda texts: _numeric(texts, empty=True) and set(texts) <= {"0", "1", ""},
    ),
    "numbers": ("columns of numbers", lambda texts: _numeric(texts, empty=False)),
    "keypoints": ("x and y of each point, in turns", lambda texts: _numeric(texts, empty=True)),
    "embeddings": ("one that says who or what it is", lambda texts: len(set(texts)) > 1),
    "anomaly": ("one with 1 or 0", lambda texts: set(texts) <= {"0", "1"}),
}
TABLES = tuple(_FITTING)
