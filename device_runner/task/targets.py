"""Checks of targets: each refusal names the array, the sample and the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.kind import Targets, first_nonfinite


def target(targets: Targets, name: str, says: str) -> npt.NDArray[Any]:
    """
    Raises:
        InputError: targets lack this array.
    """
    if name not in targets:
        names = ", ".join(sorted(targets)) or "nothing"
        raise InputError(f"targets hold {names}, but no {name!r}: {says}")
    return targets[name]


def check_finite(array: npt.NDArray[Any], name: str) -> None:
    """
    Raises:
        InputError: a target that is not a number, or not finite.
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"targets: {name!r} is {array.dtype}: it must be of real numbers")
    sample = first_nonfinite(array)
    if sample is not None:
        raise InputError(
            f"targets: {name!r} is not finite for sample {sample}: leave the sample out, "
            "or give it a number"
        )


def check_count(array: npt.NDArray[Any], name: str, count: int) -> None:
    """
    Raises:
        InputError: targets for another number of samples.
    """
    if array.ndim == 0 or len(array) != count:
        size = len(array) if array.ndim else 0
        raise InputError(
            f"targets: {name!r} is for {size} samples, there are {count}: one for each is needed"
        )


def check_integers(array: npt.NDArray[Any], name: str) -> None:
    """
    Raises:
        InputError: another dtype than of whole numbers, or some that int64 does not hold.
    """
    if array.dtype.kind not in "iub":
        raise InputError(f"targets: {name!r} is {array.dtype}: it must be of whole numbers")
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"targets: {name!r} has {array.max()}, which does not fit 64 bits signed")
