"""What a wrist does, by its accelerometer and gyroscope: BasicMotions of the UEA archive.

Four students stood, walked, ran and played badminton, each several times for ten seconds, with a
watch that recorded ten times a second (Bagnall et al., "The UEA multivariate time series
classification archive, 2018"). The packages sktime and aeon carry it; nothing of them is imported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.installed import packaged_file, read_packaged
from edgeticket.pipeline.data.tensors import Tensors

CLASSES = ("Standing", "Walking", "Running", "Badminton")
CHANNELS, STEPS = 6, 100  # of a recording
WINDOW = 25  # steps of an example: 2.5 seconds
OVERLAPPING, APART = 5, 25  # steps from a window to the next: where it is learnt from, else

_SHA256 = {
    "TRAIN": "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
    "TEST": "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
}
# Recordings of each class, of the ten that the archive has to train with: none is in two splits.
_RECORDINGS = {"train": slice(0, 7), "validation": slice(7, 9), "calibration": slice(9, 10)}

# About one standard deviation: m/s² of the accelerometer, rad/s of the gyroscope.
_UNITS = np.array([8, 8, 8, 3, 3, 3], np.float32)


def load_basic_motions(_folder: Path) -> Collection:
    """Windows float32 [25, 6]: x, y and z of the accelerometer in 8 m/s², of the gyroscope in
    3 rad/s. The archive's test recordings are the test.

    Raises:
        InputError: no package has the files, or they are others.
    """
    recordings, labels = _read("TRAIN")
    by_class = [np.flatnonzero(labels == number) for number in range(len(CLASSES))]
    splits = {}
    for name, part in _RECORDINGS.items():
        rows = np.concatenate([rows[part] for rows in by_class])
        stride = APART if name == "validation" else OVERLAPPING
        splits[name] = _windows(recordings[rows], labels[rows], stride)
    return Collection(
        splits["train"],
        _windows(*_read("TEST"), APART),
        CLASSES,
        (),
        validation=splits["validation"],
        calibration=splits["calibration"],
    )


def _windows(
    recordings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], stride: int
) -> Split:
    """[N, 100, 6] -> windows of all recordings, one recording behind the other."""
    starts = range(0, STEPS - WINDOW + 1, stride)
    cut = np.stack([recordings[:, start : start + WINDOW] for start in starts], axis=1)
    inputs = np.ascontiguousarray(cut.reshape(-1, WINDOW, CHANNELS))
    return Split(Tensors((inputs,), ("",)), np.repeat(labels, len(starts)))


def _read(part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Recordings float32 [40, 100, 6] and their classes of a .ts file: a recording a line,
    channels parted by colons, the class behind them."""
    path = f"datasets/data/BasicMotions/BasicMotions_{part}.ts"
    file = packaged_file(
        ("sktime", "aeon"), path, title="the motions", install="'edgeticket[recipes]'"
    )
    text = read_packaged(file, sha256=_SHA256[part]).decode()
    recordings, labels = [], []
    for line in text.splitlines():
        if line.startswith(("#", "@")) or not line:
            continue
        *channels, name = line.split(":")
        recordings.append([[float(value) for value in c.split(",")] for c in channels])
        labels.append(CLASSES.index(name))
    steps = np.moveaxis(np.array(recordings, np.float32), 1, 2)
    return steps / _UNITS, np.array(labels, np.int64)
