"""Files that a .csv names, with what is right for each in its columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.boxes import SLACK_PX
from edgeticket.pipeline.data.audio import SUFFIXES as SOUNDS
from edgeticket.pipeline.data.decode import SUFFIXES as PICTURES
from edgeticket.pipeline.data.examples import Inputs
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.geometry import move_of
from edgeticket.pipeline.data.layouts.columns import Array, Arrays, targets_of
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source, Steps
from edgeticket.pipeline.data.layouts.paths import PARTS, Inside, first_twice, shown
from edgeticket.pipeline.data.layouts.recordings import features, read_waveforms
from edgeticket.pipeline.data.layouts.table_file import Table, read_table
from edgeticket.pipeline.data.scaling import scaling
from edgeticket.pipeline.data.tensors import Tensors

PLACE = "data.table"


def read_listed(source: Source) -> Reading:
    """What `data.table` names.

    Raises:
        InputError: a file is missing, or a cell holds what cannot be; names line and column.
    """
    cfg = source.cfg.table
    assert cfg is not None
    table = read_table(find_file(cfg.file, folders=source.folders), place=PLACE)
    root = find_file(cfg.folder, folders=source.folders, kind="folder")
    names = _names(table, cfg.names, root)
    arrays, labels = targets_of(
        table, cfg.targets, source, key=f"{PLACE}.targets", classes=source.cfg.classes
    )
    inputs, sizes, preprocessing, steps = _inputs(root, names, source)
    if "points" in arrays:
        arrays = _move_points(arrays, sizes, source, table, cfg.targets)
        _check_swap(cfg.swap, arrays["points"].shape[1])
    rows = split_rows(table, cfg.split, key=f"{PLACE}.split")
    parts = {
        name: Part(_take(inputs, some), {k: v[some] for k, v in arrays.items()}, cfg.swap)
        for name, some in rows.items()
    }
    return Reading(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        labels,
        preprocessing,
        steps,
    )


def _names(table: Table, column: str, root: Path) -> list[str]:
    inside = Inside(root)
    texts = table.texts(column, key=f"{PLACE}.names")
    names = [inside.check(text, where=table.at(row, column)) for row, text in enumerate(texts)]
    twice = first_twice(names)
    if twice is not None:
        row = len(names) - 1 - names[::-1].index(twice)
        raise InputError(f"{table.at(row, column)}: {shown(twice)} is there already: join the rows")
    return names


def _inputs(
    root: Path, names: Sequence[str], source: Source
) -> tuple[Inputs, npt.NDArray[np.int64] | None, Steps, Steps]:
    """Inputs, the sizes of pictures, preprocessing, capture."""
    kinds = {Path(name).suffix.lower() for name in names}
    if kinds <= PICTURES:
        if source.cfg.audio is not None:
            raise InputError(f"data.audio is for recordings, and {PLACE} names pictures")
        pictures = source.decode(root, names)
        steps = (scaling(source.cfg, pictures.arrays.shape[-1]),)
        return pictures.arrays, pictures.sizes, steps, source.steps
    if kinds <= set(SOUNDS):
        if source.steps:
            raise InputError(f"data.{source.steps[0]['op']}: {PLACE} names recordings, no pictures")
        inputs = read_waveforms(root, names, source.cfg, source)
        return inputs, None, features(source.cfg), ()
    strange = (
        next(n for n in names if Path(n).suffix.lower() not in PICTURES | set(SOUNDS))
        if (kinds - PICTURES - set(SOUNDS))
        else "pictures and recordings"
    )
    raise InputError(
        f"{PLACE}: {shown(strange)}: a table names pictures alone ({', '.join(sorted(PICTURES))}), "
        f"or recordings alone ({', '.join(SOUNDS)})"
    )


def split_rows(table: Table, column: str | None, *, key: str) -> dict[str, Array]:
    """Which rows are of which part; all train, if no column says it.

    Raises:
        InputError: a cell names no part, or none is for training.
    """
    if column is None:
        return {"train": np.arange(len(table.rows))}
    parts = {word: part for part, words in PARTS.items() for word in words}
    texts = table.texts(column, key=key)
    for row, text in enumerate(texts):
        if text.lower() not in parts:
            raise InputError(
                f"{table.at(row, column)} is {shown(text)!r}: give train, validation or test"
            )
    of_row = np.array([parts[text.lower()] for text in texts])
    rows = {part: np.flatnonzero(of_row == part) for part in PARTS if (of_row == part).any()}
    if "train" not in rows:
        raise InputError(f"{key}: no row of {table.file} is for train: say so in some")
    return rows


def _move_points(
    arrays: Arrays,
    sizes: npt.NDArray[np.int64] | None,
    source: Source,
    table: Table,
    columns: Sequence[str],
) -> Arrays:
    """Points of pictures in pixels of the input; what is cut away cannot be seen."""
    if sizes is None:
        raise InputError(f"task: keypoints are of pictures, and {PLACE} names recordings")
    points, visible = arrays["points"], arrays["visible"].astype(bool)
    sides = sizes[:, np.newaxis, ::-1]
    outside = ((points < -SLACK_PX) | (points > sides + SLACK_PX)).any(axis=2) & visible
    if outside.any():
        row, point = np.argwhere(outside)[0]
        height, width = sizes[row]
        raise InputError(
            f"{table.at(row, columns[2 * point])}: the point {points[row, point].tolist()} is "
            f"outside of its picture of {width}x{height} pixels: leave the two cells empty, or "
            "mend them"
        )
    moves = [move_of(source.steps, int(height), int(width)) for height, width in sizes]
    moved = np.stack([move.points(some) for move, some in zip(moves, points, strict=True)])
    ends = np.array([move.size[::-1] for move in moves])[:, np.newaxis]
    visible &= ((moved >= 0) & (moved <= ends)).all(axis=2)
    shown_points = np.where(visible[..., np.newaxis], moved, 0.0)
    return {"points": shown_points.astype(np.float32), "visible": visible.astype(np.uint8)}


def _check_swap(swap: Sequence[tuple[int, int]], points: int) -> None:
    numbers = [number for pair in swap for number in pair]
    if first_twice(map(str, numbers)) is not None or (numbers and max(numbers) >= points):
        raise InputError(
            f"{PLACE}.swap names points {numbers}: there are {points}, counted from 0, and each "
            "changes places once"
        )


def _take(inputs: Inputs, rows: Array) -> Inputs:
    if isinstance(inputs, np.ndarray | Tensors):
        return inputs[rows]
    return inputs.take(rows)
