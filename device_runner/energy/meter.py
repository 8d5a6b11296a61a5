"""The log of an external power meter: a CSV file whose rows are matched by time stamps.

Its first line names the columns: ``time`` (Unix seconds, or ISO 8601 with Z or an offset) and
either ``power_w`` or both ``voltage_v`` and ``current_a``. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular_text
from edgeticket.device_runner.unavailable import Unavailable

LEAST_ROWS = 3
HOLE = 3.0  # steps between rows that are longer than the usual one by this factor are holes
MOST_UNSEEN = 0.1  # share of a measurement that may lie in holes
SIZE_LIMIT_BYTES = 2**28


@dataclass(frozen=True)
class MeterLog:
    """Power in W at Unix times in s, ascending."""

    name: str
    times_s: tuple[float, ...]
    power_w: tuple[float, ...]

    def mean_w(self, start_ns: int, end_ns: int) -> float | Unavailable:
        """Mean power from one Unix time to another, by the trapezoidal rule.

        Unavailable where the log does not cover both ends, has hardly any rows between them, or
        has holes: what a network draws while it works is no straight line across them.
        """
        start, end = start_ns / 1e9, end_ns / 1e9
        times = self.times_s
        if not times[0] <= start < end <= times[-1]:
            return Unavailable(
                f"{self.name} covers {times[0]:.1f} to {times[-1]:.1f}, the measurement was from "
                f"{start:.1f} to {end:.1f} (Unix seconds): check both clocks"
            )
        inner = slice(bisect_right(times, start), bisect_left(times, end))
        if len(times[inner]) < LEAST_ROWS:
            return Unavailable(
                f"{self.name} has {len(times[inner])} rows within the measurement's "
                f"{end - start:.1f} s: log faster, or measure longer (--energy-seconds)"
            )
        unseen = self._unseen_s(start, end)
        if unseen > MOST_UNSEEN * (end - start):
            return Unavailable(
                f"{self.name} has no rows for {unseen:.1f} of the measurement's {end - start:.1f} "
                "s: readings were lost, measure again"
            )
        at = [start, *times[inner], end]
        power = [self._at(start), *self.power_w[inner], self._at(end)]
        area = sum((power[i] + power[i + 1]) / 2 * (at[i + 1] - at[i]) for i in range(len(at) - 1))
        return area / (end - start)

    def _unseen_s(self, start: float, end: float) -> float:
        """Seconds from one time to another that lie in holes; the log covers both."""
        rows = self.times_s[
            bisect_right(self.times_s, start) - 1 : bisect_left(self.times_s, end) + 1
        ]
        longest = HOLE * median(after - before for before, after in zip(rows, rows[1:]))
        return sum(
            min(after, end) - max(before, start)
            for before, after in zip(rows, rows[1:])
            if after - before > longest
        )

    def _at(self, time_s: float) -> float:
        i = max(1, bisect_left(self.times_s, time_s))
        (t0, t1), (p0, p1) = self.times_s[i - 1 : i + 1], self.power_w[i - 1 : i + 1]
        return p0 + (p1 - p0) * (time_s - t0) / (t1 - t0)


def read_meter(path: Path, *, offset_s: float = 0.0) -> MeterLog:
    """Read a log; ``offset_s`` is added to its times, for a meter whose clock is behind.

    Raises:
        InputError: not readable, columns missing, a value that is none, times that do not ascend.
    """
    text = read_regular_text(path, kind="the meter's log", limit_bytes=SIZE_LIMIT_BYTES)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"cannot read the meter's log {path}: {error}") from None
    times: list[float] = []
    powers: list[float] = []
    for number, row in enumerate(rows, 2):
        place = f"{path}, line {number}"
        times.append(_time(row, place) + offset_s)
        powers.append(_power(row, place))
        if len(times) > 1 and times[-1] <= times[-2]:
            raise InputError(
                f"{place}: its time is not after that of the line before: sort the log"
            )
    if len(times) < LEAST_ROWS:
        raise InputError(
            f"{path} has {len(times)} rows of readings: a log has {LEAST_ROWS} or more"
        )
    return MeterLog(path.name, tuple(times), tuple(powers))


def _power(row: Mapping[str, str], place: str) -> float:
    if "power_w" in row:
        return _number(row, "power_w", place)
    if "voltage_v" in row and "current_a" in row:
        return _number(row, "voltage_v", place) * _number(row, "current_a", place)
    raise InputError(
        f"{place}: no column power_w, nor voltage_v and current_a (there are: {_names(row)})"
    )


def _time(row: Mapping[str, str], place: str) -> float:
    if "time" not in row:
        raise InputError(f"{place}: no column time (there are: {_names(row)})")
    text = row["time"] or ""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return _number(row, "time", place)
    if moment.tzinfo is None:
        raise InputError(f"{place}: the time {text!r} has no zone: add Z or an offset like +02:00")
    return moment.timestamp()


def _number(row: Mapping[str, str], column: str, place: str) -> float:
    text = row[column] or ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place}: {column} is {text[:24]!r}, not a number")
    return number


def _names(row: Mapping[str, str]) -> str:
    names: Sequence[str] = [str(name) for name in row]
    return ", ".join(names) or "none"
