"""The examples that accuracy is taken over: the bundle's own, or a folder on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle, Targets
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import CLASSES
from edgeticket.device_runner.npy import parse_npy
from edgeticket.device_runner.png import parse_png
from edgeticket.device_runner.preprocess import capture
from edgeticket.device_runner.regular import is_litter, is_regular, name_some, read_regular

Inputs = npt.NDArray[np.uint8]

SIZE_LIMIT_BYTES = 2**33
Asked = Union[int, Path, None]
"""The first so many of the bundle's; a folder; None: all of the bundle's."""


def _tell_nobody(sentence: str) -> None:
    pass


def load_samples(
    bundle: Bundle, asked: Asked, *, tell: Callable[[str], None] = _tell_nobody
) -> tuple[tuple[npt.NDArray[Any], ...], Targets]:
    """Inputs as stored, [N, ...] each, and what they are; ``tell`` as `read_folder` has it.

    Raises:
        InputError: more were asked for than there are, or the folder does not fit the bundle.
    """
    if not isinstance(asked, Path):
        return bundle.examples(asked)
    manifest = bundle.manifest
    if manifest.chunks is not None:
        raise InputError(
            f"--samples {asked}: {manifest.name} transcribes recordings, and takes only its own; "
            "give a number of them"
        )
    if manifest.task.name != CLASSES:
        raise InputError(
            f"--samples {asked}: {manifest.name} has no classes that folders could be named "
            "after; give a number of its own samples"
        )
    (own,) = bundle.inputs()
    inputs, labels = read_folder(
        asked, shape=own.shape[1:], classes=manifest.labels, steps=manifest.capture, tell=tell
    )
    return (inputs,), labels


def read_folder(
    folder: Path,
    *,
    shape: Sequence[int],
    classes: Sequence[str],
    steps: Sequence[Mapping[str, Any]] = (),
    tell: Callable[[str], None] = _tell_nobody,
) -> tuple[Inputs, npt.NDArray[np.int64]]:
    """A folder of examples -> inputs uint8 [N, ``*shape``], labels int64 [N].

    Either ``inputs.npy`` (uint8 [N, ``*shape``]) and ``labels.npy`` (int64 [N]), or a folder for
    each class, named like it, of .npy files (uint8 ``shape``) and 8-bit .png files, which are read
    in the order of their names. Pictures of another size go through ``steps``, those of the
    manifest's ``capture``, as the samples of the bundle did.

    Plain files alone are read, whatever the case of their suffix. Others are passed over, and
    ``tell`` hears of them; what systems leave in folders nobody hears of.

    Raises:
        InputError: a file or folder that is none of these; the place is named.
    """
    if not os.path.isdir(folder):
        raise InputError(f"--samples {folder} is neither a number nor a folder")
    if os.path.lexists(folder / "inputs.npy"):
        inputs = parse_npy(
            _read(folder / "inputs.npy"), dtypes=["uint8"], ranks=[len(shape) + 1],
            place=str(folder / "inputs.npy"),
        )  # fmt: skip
        labels = parse_npy(
            _read(folder / "labels.npy"),
            dtypes=["int64"],
            ranks=[1],
            place=str(folder / "labels.npy"),
        )
        if inputs.shape[1:] != tuple(shape) or len(inputs) != len(labels):
            raise InputError(
                f"{folder} has inputs {list(inputs.shape)} and {len(labels)} labels, the network "
                f"takes [N, {', '.join(map(str, shape))}] and N labels"
            )
        if int(labels.min()) < 0 or int(labels.max()) >= len(classes):
            raise InputError(
                f"{folder / 'labels.npy'} has labels from {labels.min()} to {labels.max()}, the "
                f"bundle has {len(classes)} classes"
            )
        return inputs, labels
    found, others = _list_examples(folder, classes)
    if not found:
        passed_over = f" (but {name_some(others)})" if others else ""
        raise InputError(
            f"{folder} has neither inputs.npy and labels.npy nor a folder of examples per class"
            f"{passed_over}: examples are .npy and .png files"
        )
    if others:
        tell(f"passed over in {folder}, no plain .npy or .png files: {name_some(others)}")
    examples = [_example(file, shape, steps) for file, _ in found]
    return np.stack(examples), np.array([label for _, label in found], dtype=np.int64)


def _list_examples(
    folder: Path, classes: Sequence[str]
) -> tuple[list[tuple[Path, int]], list[str]]:
    """Files that may be examples, with their classes, by name; and what else there is."""
    numbers = {name: i for i, name in reversed(list(enumerate(classes)))}
    found: list[tuple[Path, int]] = []
    others: list[str] = []
    for entry in _entries(folder):
        if not os.path.isdir(entry.path):  # unlike entry.is_dir, quiet about links in a circle
            continue
        if entry.name not in numbers:
            raise InputError(
                f"{entry.path} is named like no class of the bundle ({', '.join(classes[:10])}"
                f"{', ...' * (len(classes) > 10)})"
            )
        for file in _entries(Path(entry.path)):
            path = Path(file.path)
            if path.suffix.lower() in (".npy", ".png") and is_regular(path):
                found.append((path, numbers[entry.name]))
            else:
                others.append(f"{entry.name}/{file.name}")
    return found, others


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder by name, without what systems leave there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry for entry in entries if not is_litter(entry.name)), key=lambda e: e.name
            )
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None


def _example(
    file: Path, shape: Sequence[int], steps: Sequence[Mapping[str, Any]]
) -> npt.NDArray[Any]:
    example: npt.NDArray[Any]
    if file.suffix.lower() == ".npy":
        example = parse_npy(_read(file), dtypes=["uint8"], ranks=[len(shape)], place=str(file))
    else:
        example = parse_png(_read(file), place=str(file))
    if example.shape != tuple(shape) and example.ndim == 3 and steps:
        example = capture(example[np.newaxis], steps)[0]
    if example.shape != tuple(shape):
        raise InputError(
            f"{file} is {list(example.shape)}, the network takes {list(shape)}: resize it as the "
            "training data was"
        )
    return example


def _read(file: Path) -> bytes:
    return read_regular(file, limit_bytes=SIZE_LIMIT_BYTES)
