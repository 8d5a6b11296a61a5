"""What is right, from columns of a table: one function for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.names import check_names, read_names
from edgeticket.pipeline.data.layouts.part import Source
from edgeticket.pipeline.data.layouts.paths import first_twice, shown
from edgeticket.pipeline.data.layouts.table_file import Table

UNKNOWN = -1.0  # of labels

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Named = tuple[str, ...] | None
Read = tuple[Arrays, tuple[str, ...]]


def targets_of(
    table: Table, columns: Sequence[str], source: Source, *, key: str, classes: str | None
) -> Read:
    """Columns -> the arrays that the task reads, a row for each of the table's, and names of
    classes or labels.

    Raises:
        InputError: the task reads none from columns, or a cell holds what it cannot.
    """
    twice = first_twice(columns)
    if twice is not None:
        raise InputError(f"{key} names {shown(twice)!r} twice: once is enough")
    if source.task.name not in COLUMNS:
        raise InputError(
            f"task: {source.task.name} is not read from columns of a table: {', '.join(COLUMNS)} "
            "are"
        )
    if source.task.name in SINGLE and len(columns) != 1:
        raise InputError(f"{key} names {len(columns)} columns: {source.task.name} needs one")
    named = read_names(find_file(classes, folders=source.folders)) if classes else None
    return COLUMNS[source.task.name](table, columns, key, named)


def _classes(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    texts = table.texts(columns[0], key=key)
    labels = named or check_names(sorted(set(texts)), place=f"{table.place}: {table.file}")
    numbers = {name: i for i, name in enumerate(labels)}
    for row, text in enumerate(texts):
        if text not in numbers:
            raise InputError(
                f"{table.at(row, columns[0])} is {shown(text)!r}, which data.classes does not "
                "name: add it there, or leave the row out"
            )
    return {"label": np.array([numbers[text] for text in texts], dtype=np.int64)}, labels


def _numbers(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    values = np.stack([table.numbers(column, key=key) for column in columns], axis=1)
    return {"values": values.astype(np.float32)}, ()


def _labels(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    values = np.stack(
        [table.numbers(column, key=key, missing=UNKNOWN) for column in columns], axis=1
    )
    _only(values, (1.0, 0.0, UNKNOWN), table, columns, "1, 0, or nothing where it is not known")
    return {"labels": values.astype(np.int8)}, tuple(columns)


def _points(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    if len(columns) % 2:
        raise InputError(
            f"{key} names {len(columns)} columns: give x and y of each point, in turns"
        )
    texts = [table.texts(column, key=key) for column in columns]
    empty = np.array([[not text for text in column] for column in texts]).T
    values = np.stack([table.numbers(column, key=key, missing=0.0) for column in columns], axis=1)
    half = empty[:, 0::2] != empty[:, 1::2]
    if half.any():
        row, point = np.argwhere(half)[0]
        raise InputError(
            f"{table.at(row, columns[2 * point])}: of x and y of a point one alone is empty: give "
            "both or none"
        )
    points = values.reshape(len(values), -1, 2)
    return {"points": points, "visible": (~empty[:, 0::2]).astype(np.uint8)}, ()


def _identities(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    arrays, _ = _classes(table, columns, key, named)
    return {"identity": arrays["label"]}, ()


def _anomalies(table: Table, columns: Sequence[str], key: str, named: Named) -> Read:
    values = table.numbers(columns[0], key=key)[:, np.newaxis]
    _only(values, (1.0, 0.0), table, columns, "1 for what is unusual, or 0")
    return {"anomalous": values[:, 0].astype(np.int64)}, ()


COLUMNS: Mapping[str, Callable[[Table, Sequence[str], str, Named], Read]] = {
    "classes": _classes,
    "numbers": _numbers,
    "labels": _labels,
    "keypoints": _points,
    "embeddings": _identities,
    "anomaly": _anomalies,
}
SINGLE = ("classes", "embeddings", "anomaly")  # tasks that are read from one column


def _only(
    values: Array, allowed: Sequence[float], table: Table, columns: Sequence[str], says: str
) -> None:
    wrong = ~np.isin(values, allowed)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"{table.at(row, columns[column])} is {values[row, column]:g}: give {says}"
        )
