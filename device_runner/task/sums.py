"""Sums of many numbers whose result does not depend on how they were divided into batches."""

from __future__ import annotations

import math
from collections.abc import Iterable


class ExactSum:
    """A sum of float64 numbers that is rounded once, at the end (Shewchuk 1997).

    What is kept is a few floats that do not overlap, whatever the number of terms.
    """

    def __init__(self) -> None:
        self._parts: list[float] = []
        self._special = 0.0  # infinities and NaN, which have no parts
        self.count = 0

    def add(self, value: float) -> None:
        """Add one number."""
        self.count += 1
        if not math.isfinite(value):
            self._special += value
            return
        kept = 0
        for part in self._parts:
            if abs(value) < abs(part):
                value, part = part, value
            total = value + part
            low = part - (total - value)
            if low:
                self._parts[kept] = low
                kept += 1
            value = total
        if not math.isfinite(value):  # beyond what a float64 holds
            self._special += value
            return
        self._parts[kept:] = [value]

    def extend(self, values: Iterable[float]) -> None:
        """Add many numbers."""
        for value in values:
            self.add(value)

    @property
    def total(self) -> float:
        """The sum."""
        return self._special if self._special != 0.0 else math.fsum(self._parts)

    @property
    def mean(self) -> float:
        """The sum by the number of terms, which must not be none."""
        return self.total / self.count
