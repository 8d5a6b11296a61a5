"""How a fetched data set lies in the data folder: one ``.npz`` of four arrays, checked."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.progress import Progress

Arrays = Mapping[str, npt.NDArray[Any]]
"""train_inputs, test_inputs: uint8 [N, H, W, C]; train_labels, test_labels: int64 [N]."""

CONNECT_S = 15.0  # offline, a source is given up after this


def read_stored(path: Path) -> Arrays:
    """The four arrays of an ``.npz`` file, without unpickling anything.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error: it is damaged.
    """
    with np.load(path, allow_pickle=False) as stored:
        names = [f"{split}_{kind}" for split in ("train", "test") for kind in ("inputs", "labels")]
        return {name: stored[name] for name in names}


def write_stored(target: Path, get: Callable[[Path], Arrays]) -> None:
    """Write what ``get(scratch folder)`` returns; an older file stays if anything goes wrong.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as scratch:
            arrays = get(Path(scratch))
            whole = Path(scratch) / target.name
            np.savez(whole, allow_pickle=False, **arrays)
            whole.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from None


def check_arrays(
    arrays: Arrays,
    *,
    place: Path,
    title: str,
    image: tuple[int, int, int],
    per_class: Mapping[str, int],
) -> None:
    """Refuse arrays that are not the data set's in number, shape and balance of ten classes.

    Args:
        arrays: what was read.
        place: where from, for the error.
        title: the data set's name, for the error.
        image: [H, W, C].
        per_class: array name -> images of each class.

    Raises:
        InputError: naming the first array that is something else.
    """
    for name, count in per_class.items():
        array = arrays[name]
        is_inputs = name.endswith("inputs")
        wanted = (10 * count, *image) if is_inputs else (10 * count,)
        right = array.shape == wanted and array.dtype == (np.uint8 if is_inputs else np.int64)
        if right and not is_inputs:
            classes, counts = np.unique(array, return_counts=True)
            right = classes.tolist() == list(range(10)) and set(counts) == {count}
        if not right:
            raise InputError(
                f"{place} is not {title}: {name} is {array.dtype} {list(array.shape)}, "
                f"not {list(wanted)} with {count} images of each class"
            )


def download(url: str, target: Path, *, md5: str, title: str, progress: Progress) -> None:
    """Bring the file at ``url`` to ``target``.

    Raises:
        OSError, http.client.HTTPException: there is no way to it, or it arrived damaged.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=CONNECT_S) as response:
        size = float(response.headers["Content-Length"] or 0)
        with target.open("wb") as file, progress.task(title, size) as advance:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk), "")
    if digest.hexdigest() != md5:
        raise OSError(f"{target.name} arrived damaged")
