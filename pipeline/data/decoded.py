"""All pictures of a folder as one array on disk, made once for a size and kept.

Reading a row is then a copy of bytes, in training as in evaluation, and a data set need not fit
into memory. The pictures' own sizes are kept beside it: boxes are given in their pixels.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


Read = Callable[[Path], tuple[npt.NDArray[np.uint8], tuple[int, int]]]
"""A file -> what is kept of it, and height and width of the picture in it."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures, or masks, of one size, and how high and wide they were, int64 [N, 2]."""

    arrays: Inputs
    sizes: npt.NDArray[np.int64]


def decoded(
    listing: Listing, steps: Sequence[Mapping[str, Any]], *, store: Store, progress: Progress
) -> Inputs:
    """The pictures of ``listing`` after ``steps``: uint8 [N, H, W, C], in memory or on disk.

    Raises:
        InputError: pictures that cannot be decoded, or become different sizes; names them.
    """
    return decode_sized(listing, steps, store=store, progress=progress).arrays


def decode_sized(
    listing: Listing, steps: Sequence[Mapping[str, Any]], *, store: Store, progress: Progress
) -> Decoded:
    """The same with the sizes that the pictures had; errors as `decoded`."""
    read = functools.partial(read_picture, steps=steps)
    config = {"steps": [dict(step) for step in steps]}
    return keep_decoded("decode", listing, read, config=config, store=store, progress=progress)


def read_picture(
    path: Path, *, steps: Sequence[Mapping[str, Any]]
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """A picture file -> uint8 [H, W, C] behind ``steps``, and height and width before them.

    Raises:
        InputError: it is no picture, or the steps do not fit it.
    """
    picture = decode(path)
    changed: npt.NDArray[np.uint8] = capture(picture[np.newaxis], steps)[0]
    return changed, (picture.shape[0], picture.shape[1])


def keep_decoded(
    stage: str,
    listing: Listing,
    read: Read,
    *,
    config: Mapping[str, Any],
    store: Store,
    progress: Progress,
) -> Decoded:
    """What ``read`` makes of every file of ``listing``, made once and kept.

    Args:
        stage: what the step is called.
        listing: the files.
        read: works alone, with all that it needs bound to it.
        config: JSON of what is bound to it.
        store: keeps the arrays.
        progress: shows how far it is.

    Raises:
        InputError: files that ``read`` refuses, or of which it makes different sizes; names them.
    """
    stats = [(listing.root / file).stat() for file in listing.files]
    files = [[f, s.st_size, s.st_mtime_ns] for f, s in zip(listing.files, stats, strict=True)]
    result = store.stage(
        stage,
        functools.partial(_write_decoded, listing=listing, read=read, progress=progress),
        config={"files": files, **config},
        inputs={},
        tools=["numpy", "pillow"],
    )
    stored = np.load(result.folder / "inputs.npy", mmap_mode="r")
    sizes = np.load(result.folder / "sizes.npy")
    if stored.nbytes <= IN_MEMORY_BYTES:
        return Decoded(np.array(stored), sizes)
    return Decoded(Rows(stored, np.arange(len(stored))), sizes)


def _write_decoded(
    folder: Path, resume: Path, *, listing: Listing, read: Read, progress: Progress
) -> None:
    _decode_all(listing, read, resume, progress)
    for name in ("inputs.npy", "sizes.npy"):
        (resume / name).rename(folder / name)


def _decode_all(listing: Listing, read: Read, folder: Path, progress: Progress) -> None:
    """Fill ``inputs.npy`` and ``sizes.npy``; what an interrupted run has done is not done again."""
    note, file = folder / "done.json", folder / "inputs.npy"
    start = json.loads(note.read_bytes()) if note.exists() else 0
    count = len(listing.files)
    array: npt.NDArray[np.uint8] | None = np.lib.format.open_memmap(file) if start else None
    sizes: npt.NDArray[np.int64] = np.lib.format.open_memmap(
        folder / "sizes.npy", mode="r+" if start else "w+", dtype=np.int64, shape=(count, 2)
    )
    broken: list[str] = []

    def make(name: str) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | str:
        path = listing.root / name
        try:
            return read(path)
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
            for i, one in enumerate(made, start=first):
                if isinstance(one, str):
                    broken.append(one)
                    continue
                picture, sizes[i] = one
                if array is None:
                    shape = (count, *picture.shape)
                    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
                if picture.shape != array.shape[1:]:
                    raise InputError(
                        f"{listing.root / listing.files[i]} has {_size(picture.shape)} pixels, "
                        f"others {_size(array.shape[1:])}: say data.resize, and data.crop, or "
                        "data.letterbox"
                    )
                array[i] = picture
            if isinstance(array, np.memmap) and not broken:
                array.flush()
                sizes.flush()  # type: ignore[attr-defined]
                write_atomic(note, json.dumps(first + len(made)).encode())
            advance(len(made), "")
    if broken:
        more = f"; and {len(broken) - SHOWN} more" * (len(broken) > SHOWN)
        told = "; ".join(broken[:SHOWN])
        raise InputError(f"{len(broken)} of {count} pictures cannot be used: {told}{more}")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
