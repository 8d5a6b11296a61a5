"""Outputs of artifacts as codes and as real numbers, so that any two of them can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.fidelity.tally import FidelityTally
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]

OTHER_CODES = Unavailable("the codes of the two stand for different numbers")
CODE_RANGE = (-128, 127)  # of codes as `device_runner.outputs` gives them


def tallies(
    names: Sequence[str], specs: Sequence[TensorSpec], others: Sequence[TensorSpec] | None = None
) -> list[FidelityTally]:
    """One for each output of an artifact, against reals, or against another artifact's outputs.

    Where the codes of both stand for the same numbers, codes are compared; else real numbers.
    """
    made = []
    for i, (name, spec) in enumerate(zip(names, specs)):
        scale, zero_point = code_of(spec)
        if others is not None and code_of(others[i]) != (scale, zero_point):
            made.append(FidelityTally(name, no_codes=OTHER_CODES))
        elif scale is None or zero_point is None:
            made.append(FidelityTally(name))
        else:
            made.append(
                FidelityTally(name, scale=scale, zero_point=zero_point, code_range=CODE_RANGE)
            )
    return made


def code_of(spec: TensorSpec) -> tuple[float | None, int | None]:
    """Scale and zero point of codes -128..127; uint8 codes are those of int8, 128 more."""
    if spec.scale is None or spec.zero_point is None:
        return None, None
    return spec.scale, spec.zero_point - 128 * (spec.dtype == "uint8")


def to_reals(row: Array, spec: TensorSpec) -> Array:
    """Outputs as `device_runner.outputs` gives them, codes -128..127 -> real numbers.

    Codes become float64; numbers that are themselves stay as they are.
    """
    scale, zero_point = code_of(spec)
    if scale is None or zero_point is None:
        return row
    real: Array = (row.astype(np.float64) - zero_point) * scale
    return real
