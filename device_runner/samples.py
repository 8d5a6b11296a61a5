"""The examples that accuracy is taken over: the bundle's own, or a folder on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.npy import parse_npy
from edgeticket.device_runner.png import parse_png
from edgeticket.device_runner.preprocess import capture
from edgeticket.device_runner.recordings import Transcripts

Inputs = npt.NDArray[np.uint8]
Labels = Union[npt.NDArray[np.int64], Transcripts]
"""The class of each input; or what was said in the recordings that they were cut from."""

SIZE_LIMIT_BYTES = 2**33
Asked = Union[int, Path, None]
"""The first so many of the bundle's; a folder; None: all of the bundle's."""


def load_samples(bundle: Bundle, asked: Asked) -> tuple[Inputs, Labels]:
    """Inputs as stored, [N, ...], and what they are.

    Raises:
        InputError: more were asked for than there are, or the folder does not fit the bundle.
    """
    if not isinstance(asked, Path):
        return bundle.samples(asked)
    manifest = bundle.manifest
    if manifest.chunks is not None:
        raise InputError(
            f"--samples {asked}: {manifest.name} transcribes recordings, and takes only its own; "
            "give a number of them"
        )
    inputs, _ = bundle.samples()
    return read_folder(
        asked, shape=inputs.shape[1:], classes=manifest.labels, steps=manifest.capture
    )


def read_folder(
    folder: Path,
    *,
    shape: Sequence[int],
    classes: Sequence[str],
    steps: Sequence[Mapping[str, Any]] = (),
) -> tuple[Inputs, npt.NDArray[np.int64]]:
    """A folder of examples -> inputs uint8 [N, ``*shape``], labels int64 [N].

    Either ``inputs.npy`` (uint8 [N, ``*shape``]) and ``labels.npy`` (int64 [N]), or a folder for
    each class, named like it, of .npy files (uint8 ``shape``) and 8-bit .png files, which are read
    in the order of their names. Pictures of another size go through ``steps``, those of the
    manifest's ``capture``, as the samples of the bundle did.

    Raises:
        InputError: a file or folder that is none of these; the place is named.
    """
    if not folder.is_dir():
        raise InputError(f"--samples {folder} is neither a number nor a folder")
    if (folder / "inputs.npy").exists():
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
    examples: list[npt.NDArray[Any]] = []
    found: list[int] = []
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            continue
        if entry.name not in classes:
            raise InputError(
                f"{entry} is named like no class of the bundle ({', '.join(classes[:10])}"
                f"{', ...' * (len(classes) > 10)})"
            )
        for file in sorted(entry.iterdir()):
            examples.append(_example(file, shape, steps))
            found.append(classes.index(entry.name))
    if not examples:
        raise InputError(
            f"{folder} has neither inputs.npy and labels.npy nor a folder of examples per class"
        )
    return np.stack(examples), np.array(found, dtype=np.int64)


def _example(
    file: Path, shape: Sequence[int], steps: Sequence[Mapping[str, Any]]
) -> npt.NDArray[Any]:
    if file.suffix == ".npy":
        example = parse_npy(_read(file), dtypes=["uint8"], ranks=[len(shape)], place=str(file))
    elif file.suffix == ".png":
        example = parse_png(_read(file), place=str(file))
    else:
        raise InputError(f"{file} is neither .npy nor .png: convert it")
    if example.shape != tuple(shape) and example.ndim == 3 and steps:
        example = capture(example[np.newaxis], steps)[0]
    if example.shape != tuple(shape):
        raise InputError(
            f"{file} is {list(example.shape)}, the network takes {list(shape)}: resize it as the "
            "training data was"
        )
    return example


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > SIZE_LIMIT_BYTES:
            raise InputError(f"{file} is larger than {SIZE_LIMIT_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
