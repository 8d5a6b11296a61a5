"""Steps that multiply and shift each channel by stored numbers, whatever operator they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeticket.pipeline.graph.graph import Array, Constant, Operator, Value

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True)
class Affine:
    """factor · x + shift; both have one number, or one for each index of ``axis``."""

    source: str
    factor: Array
    shift: Array
    axis: int | None  # None: one number for all

    def spread(self, channels: int) -> tuple[Array, Array]:
        """Factor and shift of each channel, float64."""
        factor, shift = (
            np.broadcast_to(a.reshape(-1), channels) for a in (self.factor, self.shift)
        )
        return factor, shift


def affine_of(
    operator: Operator, values: Mapping[str, Value], constants: Mapping[str, Constant]
) -> Affine | None:
    """What an operator does to its only input that flows, or None if it is not that."""
    if operator.kind == "Neg":
        return Affine(operator.inputs[0], np.array(-1.0), np.array(0.0), None)
    if operator.kind not in ARITHMETIC or values[operator.output].dtype != "float32":
        return None
    left, right = operator.inputs
    if (left in constants) == (right in constants):
        return None
    source, stored = (right, left) if left in constants else (left, right)
    shape = values[operator.output].shape
    constant = constants[stored]
    if constant.scale is not None or values[source].shape != shape:
        return None
    wide = constant.data.reshape((1,) * (len(shape) - constant.data.ndim) + constant.data.shape)
    axes = [i for i, n in enumerate(wide.shape) if n > 1]
    if len(axes) > 1 or axes == [0] or not np.isfinite(wide).all():
        return None
    numbers = wide.astype(np.float64).reshape(-1)
    one, zero = np.ones_like(numbers), np.zeros_like(numbers)
    match operator.kind:
        case "Mul":
            factor, shift = numbers, zero
        case "Add":
            factor, shift = one, numbers
        case "Sub":
            factor, shift = (one, -numbers) if source == left else (-one, numbers)
        case _:
            if source == right or not numbers.all():
                return None
            factor, shift = 1 / numbers, zero
    return Affine(source, factor, shift, axes[0] if axes else None)
