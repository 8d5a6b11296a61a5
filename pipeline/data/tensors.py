"""Examples of networks with any inputs: arrays side by side, one for each input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tensors:
    """One array [N, ...] for each input of a network, channels last where there are channels.

    Real numbers are float32 and go in as they are; whole ones are tokens and the like. ``names``:
    what the inputs are called, or "" where only their order is known.
    """

    arrays: tuple[Array, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, which: slice | npt.NDArray[np.int64]) -> Tensors:
        return Tensors(tuple(array[which] for array in self.arrays), self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first array, as for examples that are one."""
        return self.arrays[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the first array."""
        return self.arrays[0].dtype

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one example, as networks take it: channels first, without the batch."""
        return tuple(channels_first(array).shape[1:] for array in self.arrays)

    def in_order(self, names: tuple[str, ...]) -> Tensors:
        """The same with the arrays in the order of ``names``, which are all of them."""
        places = [self.names.index(name) for name in names]
        return Tensors(tuple(self.arrays[i] for i in places), names)


def channels_first(array: Array) -> Array:
    """[N, ..., C] -> [N, C, ...], as networks take it; a view."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array


def channels_last(array: Array) -> Array:
    """[N, C, ...] -> [N, ..., C], as bundles store it."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim > 2 else array
