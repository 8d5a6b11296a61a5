"""All pictures of a folder as one array on disk, made once for a size and kept.

Reading a row is then a copy of bytes, in training as in evaluation, and a data set need not fit
into memory.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import capture
from edgeticket.pipeline.data.decode import decode
from edgeticket.pipeline.data.examples import Inputs
from edgeticket.pipeline.data.folder import SHOWN, Listing
from edgeticket.pipeline.data.rows import Rows
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.store import Store

IN_MEMORY_BYTES = 2**30  # smaller sets are read whole: an epoch then needs no disk
BLOCK = 256  # pictures between two notes of how far it is


def decoded(
    listing: Listing, steps: Sequence[Mapping[str, Any]], *, store: Store, progress: Progress
) -> Inputs:
    """The pictures of ``listing`` after ``steps``: uint8 [N, H, W, C], in memory or on disk.

    Raises:
        InputError: pictures that cannot be decoded, or become different sizes; names them.
    """
    stats = [(listing.root / file).stat() for file in listing.files]
    files = [[f, s.st_size, s.st_mtime_ns] for f, s in zip(listing.files, stats, strict=True)]
    result = store.stage(
        "decode",
        functools.partial(_write_decoded, listing=listing, steps=steps, progress=progress),
        config={"files": files, "steps": [dict(step) for step in steps]},
        inputs={},
        tools=["numpy", "pillow"],
    )
    stored = np.load(result.folder / "inputs.npy", mmap_mode="r")
    if stored.nbytes <= IN_MEMORY_BYTES:
        return np.array(stored)
    return Rows(stored, np.arange(len(stored)))


def _write_decoded(
    folder: Path,
    resume: Path,
    *,
    listing: Listing,
    steps: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> None:
    _decode_all(listing, steps, resume, progress)
    (resume / "inputs.npy").rename(folder / "inputs.npy")


def _decode_all(
    listing: Listing, steps: Sequence[Mapping[str, Any]], folder: Path, progress: Progress
) -> None:
    """Fill ``folder / "inputs.npy"``; what an interrupted run has done is not done again."""
    note, file = folder / "done.json", folder / "inputs.npy"
    start = json.loads(note.read_bytes()) if note.exists() else 0
    count = len(listing.files)
    array: npt.NDArray[np.uint8] | None = np.lib.format.open_memmap(file) if start else None
    broken: list[str] = []

    def make(name: str) -> npt.NDArray[np.uint8] | str:
        path = listing.root / name
        try:
            made: npt.NDArray[np.uint8] = capture(decode(path)[np.newaxis], steps)[0]
            return made
        except InputError as error:
            told = str(error)
            return told if str(path) in told else f"{path}: {told}"

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(os.cpu_count()) as threads,
        progress.task(f"decode {listing.root.name}", count) as advance,
    ):
        warnings.simplefilter("ignore")  # Pillow's, about metadata that nothing here reads
        advance(start, "")
        for first in range(start, count, BLOCK):
            made = list(threads.map(make, listing.files[first : first + BLOCK]))
            for i, picture in enumerate(made, start=first):
                if isinstance(picture, str):
                    broken.append(picture)
                    continue
                if array is None:
                    shape = (count, *picture.shape)
                    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
                if picture.shape != array.shape[1:]:
                    raise InputError(
                        f"{listing.root / listing.files[i]} has {_size(picture.shape)} pixels, "
                        f"others {_size(array.shape[1:])}: say data.resize, and data.crop"
                    )
                array[i] = picture
            if isinstance(array, np.memmap) and not broken:
                array.flush()
                write_atomic(note, json.dumps(first + len(made)).encode())
            advance(len(made), "")
    if broken:
        more = f"; and {len(broken) - SHOWN} more" * (len(broken) > SHOWN)
        told = "; ".join(broken[:SHOWN])
        raise InputError(f"{len(broken)} of {count} pictures cannot be used: {told}{more}")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
