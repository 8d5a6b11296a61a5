"""LibriSpeech (Panayotov et al. 2015): people reading books aloud. Here: who is speaking?

It is read where it was unpacked: ``LibriSpeech/train-clean-100/SPEAKER/CHAPTER/*.flac``. The
classes are the speakers whose folders are there. Of each speaker's recordings, in their order, of
every five the third is for validation and the fifth for the test: no recording is in two splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.audio import find_in_place, log_mel, read_waveform
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.progress import Progress

FOLDER, SUBSET = "LibriSpeech", "train-clean-100"
RATE_HZ = 16000
SAMPLES = 3 * RATE_HZ  # of an input: three seconds
CYCLE, HELD_OUT = 5, {2: "validation", 4: "test"}
# Of the training recordings' features.
# fmt: off
MEAN = (
    -2.09, -1.09, -1.03, -1.37, -1.58, -1.51, -1.56, -1.78, -2.09, -2.53,
    -2.92, -3.21, -3.46, -3.60, -3.69, -3.77, -3.73, -3.56, -3.49, -3.51,
    -3.59, -3.73, -3.82, -3.79, -3.73, -3.81, -3.89, -3.97, -4.06, -4.10,
    -4.19, -4.39, -4.61, -4.85, -5.06, -5.14, -5.18, -5.17, -5.22, -5.28,
)
STD = (
    3.08, 3.77, 3.87, 3.71, 3.72, 3.83, 3.83, 3.73, 3.61, 3.48,
    3.34, 3.17, 3.02, 2.94, 2.90, 2.89, 2.89, 2.92, 2.91, 2.87,
    2.79, 2.69, 2.66, 2.71, 2.79, 2.76, 2.70, 2.63, 2.60, 2.59,
    2.56, 2.47, 2.39, 2.30, 2.24, 2.25, 2.23, 2.21, 2.17, 2.10,
)
# fmt: on
PREPROCESSING = (
    log_mel(RATE_HZ, layout="NWC"),
    {"op": "normalize", "mean": list(MEAN), "std": list(STD)},
)


def load_librispeech_speakers(folder: Path) -> Collection:
    """Recordings in the data folder, cut into pieces of 3 s: int16 [N, 48000], and their speakers.

    What is left at the end of a recording is not used; a recording shorter than 3 s is repeated.

    Raises:
        InputError: they are not there, too few, or one of them cannot be used.
    """
    root = folder / FOLDER / SUBSET
    if not root.is_dir():
        raise InputError(f"no {root}: unpack LibriSpeech's {SUBSET}.tar.gz in {folder}")
    names = [path.name for path in root.iterdir() if path.is_dir() and path.name.isdecimal()]
    speakers = tuple(sorted(names, key=int))
    if len(speakers) < 2:
        raise InputError(f"{root} has {len(speakers)} folders of speakers: at least 2 are needed")
    pieces: dict[str, list[npt.NDArray[np.int16]]] = {"pool": [], "validation": [], "test": []}
    labels: dict[str, list[int]] = {split: [] for split in pieces}
    for label, speaker in enumerate(speakers):
        files = sorted((root / speaker).glob("*/*.flac"))
        if len(files) < CYCLE:
            raise InputError(
                f"{root / speaker} has {len(files)} recordings: {CYCLE} are needed, so that some "
                "can be held out; unpack it again, or leave the speaker out"
            )
        for i, file in enumerate(files):
            split = HELD_OUT.get(i % CYCLE, "pool")
            found = list(_cut(read_waveform(file, rate_hz=RATE_HZ)))
            pieces[split] += found
            labels[split] += [label] * len(found)
    pool, validation, test = (
        Split(np.stack(pieces[split]), np.array(labels[split], dtype=np.int64)) for split in pieces
    )
    return Collection(pool, test, speakers, PREPROCESSING, validation)


def fetch_librispeech_speakers(folder: Path, source: Path | None, progress: Progress) -> Path:
    """Look whether the data set is where it should be; nothing is downloaded.

    Raises:
        InputError: it is not, or not whole; says what to do.
    """
    return find_in_place(
        "LibriSpeech",
        folder / FOLDER,
        lambda: load_librispeech_speakers(folder),
        source=source,
        progress=progress,
    )


def _cut(samples: npt.NDArray[np.int16]) -> Iterator[npt.NDArray[np.int16]]:
    if len(samples) < SAMPLES:
        yield np.resize(samples, SAMPLES)
    for start in range(0, len(samples) - SAMPLES + 1, SAMPLES):
        yield samples[start : start + SAMPLES]
