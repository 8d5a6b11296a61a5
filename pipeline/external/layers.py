"""The layers of a model file with what they cost, and sums of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.device_runner.unavailable import Unavailable

Count = int | Unavailable


@dataclass(frozen=True)
class FileLayer:
    """One operator of a file that stores weights or multiplies."""

    name: str
    kind: str
    parameters: Count
    macs: Count


def total(counts: Sequence[Count]) -> Count:
    """The sum; if one is unknown, so is that."""
    unknown = [count for count in counts if isinstance(count, Unavailable)]
    return unknown[0] if unknown else sum(c for c in counts if isinstance(c, int))


def tell_count(count: Count) -> str:
    """For a cell of a table."""
    return "–" if isinstance(count, Unavailable) else f"{count:,}"
