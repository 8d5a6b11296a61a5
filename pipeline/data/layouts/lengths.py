"""Recordings and series of one length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

Array = npt.NDArray[Any]


def fit_length(values: Array, length: int, lengths: str, *, where: str, unit: str) -> Array:
    """The first axis brought to ``length``, as ``lengths`` allows: see `recipe.layouts.LENGTHS`.

    Raises:
        InputError: it does not allow it.
    """
    many = len(values)
    if many != length and (lengths == "equal" or (many > length and lengths == "pad")):
        ways = "pad or cut" if many < length else "cut"
        raise InputError(
            f"{where} has {many:,} {unit}, not {length:,}: mend it, or say `lengths: {ways}`, "
            "or another length"
        )
    padded = np.zeros((length, *values.shape[1:]), values.dtype)
    padded[: min(many, length)] = values[:length]
    return padded
