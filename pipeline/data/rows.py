"""Rows of an array that stays on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a memory-mapped array, in an order of their own; reading them makes copies.

    It answers as far as an array does that a split may hold: its shape, and rows by slice, by
    number or by an array of numbers.
    """

    stored: Array
    order: npt.NDArray[np.int64]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        return self.stored.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.order), *self.stored.shape[1:])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, which: slice | int | npt.NDArray[np.int64]) -> Array:
        return np.asarray(self.stored[self.order[which]])

    def take(self, which: npt.NDArray[np.int64]) -> Rows:
        """The rows at ``which``, in that order; nothing is read."""
        return Rows(self.stored, self.order[which])
