"""LibriSpeech (Panayotov et al. 2015): people reading books aloud. Here: what do they say?

It is read where it was unpacked: ``LibriSpeech/SUBSET/SPEAKER/CHAPTER/`` with a file of transcripts
in each. Training and calibration are train-clean-100, validation is dev-clean, the test is
test-clean, as published. Where one of the last two is missing or an excerpt with fewer than
``FEWEST_READERS``, so many readers of train-clean-100 take its place and are not trained on. So
nobody is heard in two of train, validation and test.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.audio import find_in_place, log_mel, read_waveform
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.librispeech import FOLDER, MEAN, RATE_HZ, STD
from edgeticket.pipeline.data.librispeech import SUBSET as TRAIN
from edgeticket.pipeline.data.recordings import Recordings, Spoken
from edgeticket.pipeline.progress import Progress

VALIDATION, TEST = "dev-clean", "test-clean"
FEWEST_READERS = 3
SYMBOLS = ("", *" 'ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # the blank, and what transcripts are written in
PREPROCESSING = (
    # Frames without mirrored ends: those of a chunk are then those of the whole recording.
    {**log_mel(RATE_HZ, layout="NWC"), "centred": False},
    {"op": "normalize", "mean": list(MEAN), "std": list(STD)},
)

Listed = dict[Path, str]
"""Recording -> what is said in it."""


def load_librispeech(folder: Path) -> Collection:
    """The recordings in the data folder, whole, with their transcripts, in memory.

    Raises:
        InputError: they are not there, too few, or one of them cannot be used.
    """
    root = folder / FOLDER
    if not (root / TRAIN).is_dir():
        raise InputError(f"no {root / TRAIN}: unpack LibriSpeech's {TRAIN}.tar.gz in {folder}")
    readers = _list_readers(root / TRAIN)
    parts = {"pool": readers}
    for name in (TEST, VALIDATION):
        subset = root / name
        parts[name] = _list_readers(subset) if subset.is_dir() else {}
        if len(parts[name]) < FEWEST_READERS:
            parts[name] = {key: readers.pop(key) for key in _apart(readers, FEWEST_READERS)}
    if not readers:
        raise InputError(
            f"{root / TRAIN} has too few readers: when {FEWEST_READERS} are for the test and as "
            "many for validation, nobody is left to learn from; unpack more of them"
        )
    pool, validation, test = (_read(parts[name]) for name in ("pool", VALIDATION, TEST))
    return Collection(pool, test, SYMBOLS, PREPROCESSING, validation)


def fetch_librispeech(folder: Path, source: Path | None, progress: Progress) -> Path:
    """Look whether the data set is where it should be; nothing is downloaded.

    Raises:
        InputError: it is not, or not whole; says what to do.
    """
    return find_in_place(
        "LibriSpeech",
        folder / FOLDER,
        lambda: load_librispeech(folder),
        source=source,
        progress=progress,
    )


def _apart(readers: Iterable[str], count: int) -> list[str]:
    """``count`` of the readers, at even distances: neighbours may have read the same book."""
    names = list(readers)
    if len(names) <= count:
        return names
    return [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]


def _list_readers(subset: Path) -> dict[str, Listed]:
    """Reader -> recordings, both in order."""
    names = [path.name for path in subset.iterdir() if path.is_dir() and path.name.isdecimal()]
    return {name: _list_reader(subset / name) for name in sorted(names, key=int)}


def _list_reader(folder: Path) -> Listed:
    found: Listed = {}
    for chapter in sorted(path for path in folder.iterdir() if path.is_dir()):
        texts = _read_transcripts(chapter / f"{folder.name}-{chapter.name}.trans.txt")
        for file in sorted(chapter.glob("*.flac")):
            if file.stem not in texts:
                raise InputError(
                    f"{file} has no line in {folder.name}-{chapter.name}.trans.txt: unpack the "
                    "data set again, or remove the recording"
                )
            found[file] = texts[file.stem]
    if not found:
        raise InputError(f"{folder} has no recordings (CHAPTER/*.flac): unpack it again")
    return found


def _read_transcripts(path: Path) -> dict[str, str]:
    """Lines like ``19-198-0000 NORTHANGER ABBEY`` -> text by recording."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}): unpack the data set again") from None
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, _, text = line.strip().partition(" ")
        unknown = sorted(set(text) - set(SYMBOLS))
        if not text or unknown:
            wrong = f"has {unknown[0]!r}, which is none of A to Z, ' and space" if unknown else ""
            raise InputError(
                f"{path}, line {number} ({line[:40]!r}) {wrong or 'says nothing'}: correct it"
            )
        texts[name] = text
    return texts


def _read(readers: dict[str, Listed]) -> Split:
    """Labels number the readers."""
    files = {file: text for listed in readers.values() for file, text in listed.items()}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        waveforms = list(threads.map(lambda file: read_waveform(file, rate_hz=RATE_HZ), files))
    labels = np.repeat(np.arange(len(readers)), [len(listed) for listed in readers.values()])
    spoken = Spoken(tuple(files.values()), SYMBOLS)
    return Split(Recordings.of(waveforms), labels.astype(np.int64), spoken=spoken)
