"""Usual and unusual pictures: zeros are what a network gets to see, other digits are unusual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.digits import load_digits
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.scenes import Dice
from edgeticket.pipeline.data.targets import Targets

USUAL = 0  # the digit
_SEED = 1503
_PREPROCESSING = ({"op": "normalize", "mean": [0.0], "std": [255.0]},)

# Of 500 zeros, and of 500 of each other digit; all other zeros are to be trained with.
_ZEROS = {"test": 100, "validation": 60, "calibration": 60}
_OTHERS = {"test": 50, "validation": 20}


def load_digit_anomaly(folder: Path) -> Collection:
    """Pictures uint8 [28, 28, 1]: 280 zeros to train with and 60 to calibrate with, zeros and other
    digits to choose by and for the test. What is to be rebuilt is the picture in 0..1.

    Raises:
        InputError: as `load_digits`.
    """
    digits = load_digits(folder).pool
    assert digits.labels is not None
    assert isinstance(digits.inputs, np.ndarray)
    order = Dice(_SEED).order(len(digits))
    by_digit = [order[digits.labels[order] == digit] for digit in range(10)]
    rows: dict[str, list[npt.NDArray[np.int64]]] = {"train": []}
    for digit, waiting in enumerate(by_digit):
        start = 0
        for name, size in (_ZEROS if digit == USUAL else _OTHERS).items():
            rows.setdefault(name, []).append(waiting[start : start + size])
            start += size
        if digit == USUAL:
            rows["train"].append(waiting[start:])
    pictures = digits.inputs.astype(np.uint8)
    splits = {
        name: _split(pictures, digits.labels, np.concatenate(parts)) for name, parts in rows.items()
    }
    return Collection(
        splits["train"],
        splits["test"],
        ("usual", "unusual"),
        _PREPROCESSING,
        validation=splits["validation"],
        calibration=splits["calibration"],
    )


def _split(
    pictures: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Split:
    chosen = pictures[rows]
    arrays = {
        "anomalous": (labels[rows] != USUAL).astype(np.uint8),
        "input": np.moveaxis(chosen, -1, 1).astype(np.float32) / np.float32(255),
    }
    task = Task("anomaly", {"score": "error"})
    return Split(chosen, None, targets=Targets(task, arrays, len(rows)))
