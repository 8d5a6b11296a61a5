"""Speech Commands (Warden 2018): single words, spoken into computers at home; one second each.

It is read where it was unpacked: a folder for each word, and the two lists that make sure that no
speaker is in two splits. The classes are the words whose folders are there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.audio import SUFFIXES, find_in_place, log_mel, read_waveform
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.progress import Progress

FOLDER = "speech_commands"
VALIDATION, TEST = "validation_list.txt", "testing_list.txt"
RATE_HZ = 16000
SAMPLES = RATE_HZ  # of an input: one second
PREPROCESSING = (
    log_mel(RATE_HZ, layout="NHWC"),
    # Of the training recordings' features.
    {"op": "normalize", "mean": [-4.5], "std": [3.2]},
)


def load_speech_commands(folder: Path) -> Collection:
    """The recordings in the data folder: int16 [N, 16000], shorter ones with silence behind.

    Raises:
        InputError: they are not there, not whole, or one of them cannot be used.
    """
    root = folder / FOLDER
    words = _words(root)
    of_list = {split: _read_list(root / split, words) for split in (VALIDATION, TEST)}
    both = of_list[VALIDATION] & of_list[TEST]
    if both:
        raise InputError(f"{root}: {min(both)} is in {VALIDATION} and in {TEST}: unpack it again")
    files: dict[str, list[str]] = {VALIDATION: [], TEST: [], "pool": []}
    for word in words:
        for path in sorted((root / word).iterdir()):
            if path.suffix in SUFFIXES:
                name = f"{word}/{path.stem}"
                where = next((split for split in of_list if name in of_list[split]), "pool")
                files[where].append(f"{word}/{path.name}")
    for split, listed in of_list.items():
        missing = listed - {file.rpartition(".")[0] for file in files[split]}
        if missing:
            raise InputError(
                f"{root} is not whole: {split} names {min(missing)}, which is not there; "
                "unpack it again"
            )
        if not listed:
            raise InputError(f"{root / split} names no recordings of {', '.join(words)}")
    pool, validation, test = (
        _read_split(root, files[split], words) for split in ("pool", VALIDATION, TEST)
    )
    return Collection(pool, test, words, PREPROCESSING, validation)


def fetch_speech_commands(folder: Path, source: Path | None, progress: Progress) -> Path:
    """Look whether the data set is where it should be; nothing is downloaded.

    Raises:
        InputError: it is not, or not whole; says what to do.
    """
    return find_in_place(
        "speech_commands",
        folder / FOLDER,
        lambda: load_speech_commands(folder),
        source=source,
        progress=progress,
    )


def _words(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise InputError(
            f"no {root}: unpack speech_commands_v0.02.tar.gz there, or folders of some of its "
            f"words with {VALIDATION} and {TEST}"
        )
    words = sorted(
        path.name for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"
    )
    if len(words) < 2:
        raise InputError(f"{root} has {len(words)} folders of words: at least 2 are needed")
    return tuple(words)


def _read_list(path: Path, words: tuple[str, ...]) -> set[str]:
    """Lines like ``down/004ae714_nohash_0.wav`` -> word/stem, of the words that are there."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}): unpack the data set again") from None
    return {line.rpartition(".")[0] for line in lines if line.partition("/")[0] in words}


def _read_split(root: Path, files: list[str], words: tuple[str, ...]) -> Split:
    inputs: npt.NDArray[np.int16] = np.zeros((len(files), SAMPLES), np.int16)
    for row, file in zip(inputs, files, strict=True):
        samples = read_waveform(root / file, rate_hz=RATE_HZ)
        if len(samples) > SAMPLES:
            seconds = len(samples) / RATE_HZ
            raise InputError(f"{root / file} lasts {seconds:.2f} s: words last 1 s; cut it")
        row[: len(samples)] = samples
    labels = np.array([words.index(file.partition("/")[0]) for file in files], dtype=np.int64)
    return Split(inputs, labels)
