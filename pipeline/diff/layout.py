"""Bring a runtime's array into the order that the reference has.

TFLite keeps channels last and ONNX keeps them first; a flattened map then has its numbers in
another order too. The order is found from the shapes. Where shapes leave several orders (as many
rows as channels), the one that agrees best with the reference is taken: a wrong order of a map
agrees with nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Order = Callable[[Array], Array]


def find_order(
    given: Array, expected: Array, *, maps: Iterable[tuple[int, ...]] = ()
) -> Order | None:
    """How to reorder ``given`` to compare with ``expected``; None if the shapes cannot match.

    Args:
        given: real numbers as the runtime has them.
        expected: real numbers of the reference, [1, ...].
        maps: shapes [1, C, ...] of the reference's maps, one of which may have been flattened.
    """
    orders = list(_orders(given.shape, expected.shape, maps))
    if len(orders) < 2:
        return orders[0] if orders else None
    return min(orders, key=lambda order: float(np.abs(order(given) - expected).sum()))


def _orders(
    given: tuple[int, ...], expected: tuple[int, ...], maps: Iterable[tuple[int, ...]]
) -> Iterator[Order]:
    sizes, wanted = _sizes(given), _sizes(expected)
    if sorted(sizes) != sorted(wanted):
        return
    dimensions = range(len(sizes))
    # Channels last first, then as it is: of equally good ones the first is taken.
    last = (len(sizes) - 1, *range(len(sizes) - 1)) if sizes else ()
    for axes in dict.fromkeys((last, tuple(dimensions), *itertools.permutations(dimensions))):
        if tuple(sizes[axis] for axis in axes) == wanted:
            yield _transposer(sizes, axes, expected)
    if len(wanted) == 1:
        for channels, *spatial in dict.fromkeys(shape[1:] for shape in maps):
            if channels * math.prod(spatial) == wanted[0]:
                axes = (len(spatial), *range(len(spatial)))
                yield _transposer((*spatial, channels), axes, expected)


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions of one number hold no order."""
    return tuple(size for size in shape if size != 1)


def _transposer(shape: tuple[int, ...], axes: tuple[int, ...], expected: tuple[int, ...]) -> Order:
    def transpose(array: Array) -> Array:
        # In C order: told of channels last, torch sums in another order and rounds otherwise.
        moved: Array = np.ascontiguousarray(array.reshape(shape).transpose(axes))
        return moved.reshape(expected)

    return transpose


def channels_first(array: Array) -> Array:
    """[N, ..., C] -> [N, C, ...], as networks have it; a view."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array
