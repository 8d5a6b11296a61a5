"""Numbers in time from a .csv: windows to foretell, or whole series to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.columns import targets_of
from edgeticket.pipeline.data.layouts.lengths import fit_length
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source
from edgeticket.pipeline.data.layouts.paths import shown
from edgeticket.pipeline.data.layouts.table import split_rows
from edgeticket.pipeline.data.layouts.table_file import Table, read_table
from edgeticket.pipeline.data.tensors import Tensors, channels_last
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.recipe.layouts import SeriesConfig

PLACE = "data.series"
TEST, VALIDATION = 0.2, 0.1  # shares of the time, from its end
MOST_BYTES = 2**34  # of windows

Array = npt.NDArray[Any]


def read_series(source: Source) -> Reading:
    """What `data.series` names.

    Raises:
        InputError: a cell is no number, or series do not fit one another; names line and column.
    """
    cfg = source.cfg.series
    assert cfg is not None
    table = read_table(find_file(cfg.file, folders=source.folders), place=PLACE)
    values = _columns(table, cfg.channels, key=f"{PLACE}.channels")
    runs = _runs(table, cfg)
    read = _whole if cfg.past is None else _windows
    return read(table, values, runs, source)


def _columns(table: Table, columns: Sequence[str], *, key: str) -> npt.NDArray[np.float32]:
    """Real numbers [rows, columns]."""
    values = np.stack([table.numbers(column, key=key) for column in columns], axis=1)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    wrong = ~np.isfinite(narrow)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"{table.at(row, columns[column])} is {values[row, column]:g}, which does not fit "
            "float32: scale the column"
        )
    return narrow


def _runs(table: Table, cfg: SeriesConfig) -> dict[str, Array]:
    """The rows of each series, by its name, in the order of the file."""
    if cfg.series is None:
        return {"": np.arange(len(table.rows))}
    names = table.texts(cfg.series, key=f"{PLACE}.series")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: np.array(some) for name, some in rows.items()}


def _windows(
    table: Table, values: npt.NDArray[np.float32], runs: dict[str, Array], source: Source
) -> Reading:
    """Windows of the past and what follows: by time, so that no part has steps of another."""
    cfg = source.cfg.series
    assert cfg is not None
    assert cfg.past is not None
    assert cfg.future is not None
    if source.task.name != "series":
        raise InputError(
            f"task: {PLACE} has past and future, and the task is {source.task.name}: say "
            "`task: series`, or leave them out"
        )
    wanted = cfg.targets or cfg.channels
    targets = values if wanted == cfg.channels else _columns(table, wanted, key=f"{PLACE}.targets")
    inputs, size = _scaled(values, source.cfg), cfg.past + cfg.future
    starts: dict[str, list[Array]] = {"train": [], "validation": [], "test": []}
    for name, rows in runs.items():
        cuts = _cuts(len(rows))
        for part, (first, end) in cuts.items():
            count = end - first - size + 1
            if count < 1:
                which = f"series {shown(name)!r}" if name else "it"
                raise InputError(
                    f"{PLACE}: {table.file}: {which} has {len(rows)} steps, of which {end - first} "
                    f"are for {part}, and past + future are {size}: give longer series, or make "
                    "past and future shorter"
                )
            starts[part].append(rows[np.arange(first, first + count, cfg.every)])
    # Rows of a series may lie among those of others: steps are looked up by their place in it.
    order = np.concatenate(list(runs.values()))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parts: dict[str, Part] = {}
    for part, some in starts.items():
        first = place[np.concatenate(some)]
        if len(first) * size * (values.shape[1] + targets.shape[1]) * 4 > MOST_BYTES:
            raise InputError(
                f"{PLACE}: {len(first):,} windows of {size} steps are more than "
                f"{MOST_BYTES:,} bytes: make data.series.every larger"
            )
        past = order[first[:, np.newaxis] + np.arange(cfg.past)]
        future = order[first[:, np.newaxis] + np.arange(cfg.past, size)]
        arrays = {"future": _flat(targets[future]), "past": _flat(targets[past])}
        if cfg.past <= int(source.task.settings.get("season", 1)):
            del arrays["past"]  # too short to be compared with
        parts[part] = Part(_inputs(inputs[past], cfg), arrays)
    return Reading(
        parts["train"],
        parts["validation"],
        parts["test"],
        (),
        (),
    )


def _cuts(steps: int) -> dict[str, tuple[int, int]]:
    """From which step to which each part goes."""
    test = steps - round(TEST * steps)
    validation = test - round(VALIDATION * steps)
    return {"train": (0, validation), "validation": (validation, test), "test": (test, steps)}


def _flat(windows: Array) -> Array:
    """[N, steps, 1] -> [N, steps], as networks with one output channel give it."""
    return windows[..., 0] if windows.shape[2] == 1 else windows


def _whole(
    table: Table, values: npt.NDArray[np.float32], runs: dict[str, Array], source: Source
) -> Reading:
    """Whole series of one length, and what is right for each."""
    cfg = source.cfg.series
    assert cfg is not None
    assert cfg.targets is not None
    if source.task.name in ("series", "keypoints"):
        raise InputError(
            f"task: {PLACE} has whole series, and the task is {source.task.name}: give past and "
            "future, or another task"
        )
    values = _scaled(values, source.cfg)
    length = cfg.length or len(next(iter(runs.values())))
    stored = np.stack(
        [
            fit_length(
                values[rows],
                length,
                cfg.lengths,
                where=f"{PLACE}: {table.file}: series {shown(name)!r}",
                unit="steps",
            )
            for name, rows in runs.items()
        ]
    )
    firsts = np.array([rows[0] for rows in runs.values()])
    constant = [*cfg.targets, *([cfg.split] if cfg.split is not None else [])]
    for column in constant:
        _check_constant(table, column, runs)
    alone = Table(
        table.file,
        table.place,
        table.columns,
        [table.rows[i] for i in firsts],
        [table.lines[i] for i in firsts],
    )
    arrays, labels = targets_of(
        alone, cfg.targets, source, key=f"{PLACE}.targets", classes=source.cfg.classes
    )
    inputs = _inputs(stored, cfg)
    parts = {
        name: Part(inputs[some], {key: array[some] for key, array in arrays.items()})
        for name, some in split_rows(alone, cfg.split, key=f"{PLACE}.split").items()
    }
    return Reading(parts["train"], parts.get("validation"), parts.get("test"), labels, ())


def _check_constant(table: Table, column: str, runs: dict[str, Array]) -> None:
    texts = table.texts(column, key=PLACE)
    for name, rows in runs.items():
        other = next((row for row in rows.tolist() if texts[row] != texts[rows[0]]), None)
        if other is not None:
            raise InputError(
                f"{table.at(other, column)} is {shown(texts[other])!r}, in the first row of series "
                f"{shown(name)!r} it is {shown(texts[rows[0]])!r}: give one for the whole series"
            )


def _inputs(windows: Array, cfg: SeriesConfig) -> Tensors:
    """[N, steps, channels] -> as it is stored, so that the network gets what `layout` says."""
    taken = windows if cfg.layout == "time_first" else np.moveaxis(windows, 2, 1)
    return Tensors((channels_last(np.ascontiguousarray(taken)),), ("input",))


def _scaled(values: npt.NDArray[np.float32], cfg: DataConfig) -> npt.NDArray[np.float32]:
    """(x − mean) / std of each channel, if the recipe says them; real numbers go into networks as
    they are stored.

    Raises:
        InputError: they are not one number for each channel.
    """
    if cfg.mean is None or cfg.std is None:
        return values
    channels = values.shape[1]
    if {len(cfg.mean), len(cfg.std)} != {channels}:
        raise InputError(
            f"data.mean and data.std: {cfg.title} has {channels} channels, so give {channels} "
            "numbers each"
        )
    mean, std = np.array(cfg.mean, np.float32), np.array(cfg.std, np.float32)
    return (values - mean) / std
