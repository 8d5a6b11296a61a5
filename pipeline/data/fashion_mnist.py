"""Fashion-MNIST (Xiao et al. 2017): 70,000 grey images of 28×28 pixels, 10 kinds of clothes.

It is published as four gzipped IDX files. Debian packages them (``dataset-fashion-mnist``), and
where that package is installed nothing needs to be fetched.
"""

from __future__ import annotations

import gzip
import http.client
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.stored import (
    Arrays,
    check_arrays,
    download,
    read_stored,
    write_stored,
)
from edgeticket.pipeline.progress import Progress

FILE = "fashion_mnist.npz"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# fmt: off
LABELS = ("T-shirt/top", "trouser", "pullover", "dress", "coat",
          "sandal", "shirt", "sneaker", "bag", "ankle boot")
# fmt: on
# Mean and standard deviation of the training pixels, in 0..255.
PREPROCESSING = ({"op": "normalize", "mean": [72.9404], "std": [90.0212]},)

_NAMES = {
    "train_inputs": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_inputs": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
_COUNTS_PER_CLASS_OF = {
    "train_inputs": 6000,
    "train_labels": 6000,
    "test_inputs": 1000,
    "test_labels": 1000,
}
_MOST_BYTES = 60_000 * 28 * 28 + 16  # of one file, unpacked


def load_fashion_mnist(folder: Path) -> Collection:
    """The 60,000 training and 10,000 test images in the data folder, else in Debian's package.

    Raises:
        InputError: they are in neither, or damaged.
    """
    path = folder / FILE
    if not path.exists():
        path = DEBIAN
    if not path.exists():
        raise InputError(
            f"no {folder / FILE}: run `edgeticket fetch fashion_mnist`, "
            "or install Debian's package dataset-fashion-mnist"
        )
    arrays = _read_checked(path)
    pool = Split(arrays["train_inputs"], arrays["train_labels"])
    test = Split(arrays["test_inputs"], arrays["test_labels"])
    return Collection(pool, test, LABELS, PREPROCESSING)


def fetch_fashion_mnist(folder: Path, source: Path | None, progress: Progress) -> Path:
    """Put ``fashion_mnist.npz`` into the data folder.

    Args:
        folder: the data folder, made if need be.
        source: a folder with the four gzipped IDX files, or another ``fashion_mnist.npz``; None
            takes Debian's package where it is installed, else the official download.
        progress: shows the download.

    Raises:
        InputError: no source can be reached, the content is not Fashion-MNIST, or the disk is
            full.
    """
    target = folder / FILE
    if source is None and target.exists():
        _read_checked(target)
        progress.say(f"{target} is there already")
        return target

    def get(scratch: Path) -> Arrays:
        if source is not None:
            return _read_checked(source)
        if DEBIAN.exists():
            progress.say(f"reading {DEBIAN}")
            return _read_checked(DEBIAN)
        _download(scratch, progress)
        return _read_checked(scratch)

    write_stored(target, get)
    return target


def _download(scratch: Path, progress: Progress) -> None:
    """The four official files, into ``scratch``."""
    # torchvision knows where the files are, and their checksums.
    from edgeticket.models.torchvision_cure import import_torchvision

    official = import_torchvision().datasets.FashionMNIST
    try:
        for name, md5 in official.resources:
            url, title = official.mirrors[0] + name, f"download {name}"
            download(url, scratch / name, md5=md5, title=title, progress=progress)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"cannot download Fashion-MNIST ({error}): download its four .gz files elsewhere and "
            "give their folder with --from, or install Debian's package dataset-fashion-mnist"
        ) from None


def _read_checked(path: Path) -> Arrays:
    """A folder of IDX files, or a stored file -> arrays that are Fashion-MNIST's."""
    if not path.exists():
        raise InputError(f"no file or folder {path}")
    try:
        if path.is_dir():
            arrays: Arrays = {array: _read_idx(path / name) for array, name in _NAMES.items()}
        else:
            arrays = read_stored(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no whole Fashion-MNIST: {error}") from None
    counts = _COUNTS_PER_CLASS_OF
    check_arrays(arrays, place=path, title="Fashion-MNIST", image=(28, 28, 1), per_class=counts)
    return arrays


def _read_idx(path: Path) -> npt.NDArray[np.uint8] | npt.NDArray[np.int64]:
    """A gzipped IDX file of bytes -> images uint8 [N, H, W, 1], or labels int64 [N].

    IDX is two zero bytes, the type (8: unsigned bytes), the number of axes, the length of each
    axis as a big-endian 32-bit number, and the values.

    Raises:
        OSError, ValueError, zlib.error: it is absent, cut short, or something else.
    """
    try:
        with gzip.open(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except EOFError:
        raise ValueError(f"{path.name} is cut short") from None
    axes = 3 if "idx3" in path.name else 1
    start = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) < start:
        raise ValueError(f"{path.name} is no IDX file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(f"{path.name} says {list(shape)} but holds {len(data) - start} values")
    values = np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    return values[..., np.newaxis] if axes == 3 else values.astype(np.int64)
