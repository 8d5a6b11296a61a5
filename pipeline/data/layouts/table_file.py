"""Tables in .csv files, read strictly: every cell has a line and a column to name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import name_some, read_regular_text
from edgeticket.pipeline.data.layouts.paths import first_twice, shown

MOST_BYTES = 2**28
MOST_COLUMNS = 100_000


@dataclass(frozen=True)
class Table:
    """Rows of texts; ``lines`` are the numbers of their lines in the file."""

    file: Path
    place: str  # what errors call it
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def index(self, column: str, *, key: str) -> int:
        """
        Raises:
            InputError: there is no such column; ``key`` asked for it.
        """
        if column not in self.columns:
            names = name_some([shown(name) for name in self.columns], shown=8)
            raise InputError(
                f"{self.place}: {self.file} has no column {shown(column)!r}, which {key} names "
                f"(it has {names})"
            )
        return self.columns.index(column)

    def texts(self, column: str, *, key: str) -> list[str]:
        """The cells of a column, without spaces around them.

        Raises:
            InputError: there is no such column.
        """
        at = self.index(column, key=key)
        return [row[at].strip() for row in self.rows]

    def numbers(
        self, column: str, *, key: str, missing: float | None = None
    ) -> npt.NDArray[np.float64]:
        """The numbers of a column, [rows]; an empty cell is ``missing``, if that is allowed.

        Raises:
            InputError: there is no such column, or a cell holds no finite number.
        """
        texts = self.texts(column, key=key)
        values = np.empty(len(texts))
        for i, text in enumerate(texts):
            number = missing if not text and missing is not None else _number(text)
            if number is None:
                what = f"{shown(text)!r}" if text else "empty"
                raise InputError(
                    f"{self.at(i, column)} is {what}: it must be a finite number; mend the cell, "
                    "or leave the row out"
                )
            values[i] = number
        return values

    def at(self, row: int, column: str) -> str:
        """Where a cell stands, for errors."""
        return f"{self.place}: {self.file}, line {self.lines[row]}, column {shown(column)!r}"


def read_table(file: Path, *, place: str) -> Table:
    """A .csv file whose first line names its columns; commas, or semicolons if it has no comma.

    Raises:
        InputError: it cannot be read, has no rows, or rows of another length.
    """
    text = read_regular_text(file, kind=place, limit_bytes=MOST_BYTES)
    title = f"{place}: {file}"
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    columns: tuple[str, ...] | None = None
    try:
        for row in reader:
            if not row or row == [""]:
                continue
            if columns is None:
                columns = _columns(row, title)
                continue
            if len(row) != len(columns):
                raise InputError(
                    f"{title}, line {reader.line_num} has {len(row)} cells, the first line names "
                    f"{len(columns)} columns: mend the line"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(
            f"{title}, line {reader.line_num} is no line of a table: {error}"
        ) from None
    if columns is None or not rows:
        raise InputError(f"{title} has no rows: its first line names columns, the others are rows")
    return Table(file, place, columns, rows, lines)


def _columns(row: Sequence[str], title: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in row)
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{title} has {len(names):,} columns, more than {MOST_COLUMNS:,}")
    twice = first_twice(names)
    if twice is not None:
        raise InputError(f"{title} has the column {shown(twice)!r} twice: rename one")
    return names


def _number(text: str) -> float | None:
    """A finite number in decimal; None: it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
