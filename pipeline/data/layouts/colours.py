"""Which class each colour of a mask picture is, from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.layouts.table_file import read_table

PLACE = "data.masks.colours"
NOTHING = 255  # a pixel that counts for nothing, and the fill around a picture

Colours = tuple[tuple[int, int], ...]
"""Colours as 0xRRGGBB, and the class of each."""


def read_colours(file: Path) -> tuple[tuple[str, ...], Colours]:
    """A .csv with name, r, g, b and perhaps index -> names of classes, and what is which.

    Raises:
        InputError: it is none, names a colour twice, or leaves a class out.
    """
    key = PLACE
    table = read_table(file, place=key)
    channels = []
    for column in ("r", "g", "b"):
        values = table.numbers(column, key=key)
        wrong = (values < 0) | (values > 255) | (values % 1 != 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{table.at(row, column)} is {values[row]:g}: give 0 to 255")
        channels.append(values.astype(np.int64))
    packed = (channels[0] << 16) | (channels[1] << 8) | channels[2]
    names = table.texts("name", key=key)
    if "index" in table.columns:
        index = table.numbers("index", key=key)
    else:
        index = np.arange(len(names), dtype=np.float64)
    wrong = (index < 0) | (index > NOTHING) | (index % 1 != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{key}: {file}, line {table.lines[row]}: class {index[row]:g}: give 0 to "
                         f"{NOTHING - 1}, or {NOTHING} for what does not count")  # fmt: skip
    if len(np.unique(packed)) < len(packed):
        raise InputError(f"{key}: {file} names a colour twice: give each one class")
    numbers = index.astype(np.int64).tolist()
    counted = sorted({number for number in numbers if number != NOTHING})
    if counted != list(range(len(counted))) or not counted:
        raise InputError(f"{key}: {file} has the classes {counted[:8]}: count them from 0")
    labels = tuple(names[numbers.index(number)] for number in counted)
    return labels, tuple(zip(packed.tolist(), numbers, strict=True))
