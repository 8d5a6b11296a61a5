"""What networks often leave out of their last layer, in float64."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.task.kind import Floats


def sigmoid(values: npt.NDArray[Any]) -> Floats:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    half = np.exp(-np.abs(values.astype(np.float64)))
    result: Floats = np.where(values >= 0, 1.0, half) / (1.0 + half)
    return result


def softmax(values: npt.NDArray[Any]) -> Floats:
    """Over the last axis, in float64."""
    wide = values.astype(np.float64)
    raised = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return result


def _as_is(values: npt.NDArray[Any]) -> Floats:
    return values.astype(np.float64)


# By name; what a task's settings may ask for.
ACTIVATIONS: dict[str, Callable[[npt.NDArray[Any]], Floats]] = {
    "none": _as_is,
    "sigmoid": sigmoid,
    "softmax": softmax,
}
