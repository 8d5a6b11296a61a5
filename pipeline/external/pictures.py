"""Samples for models made elsewhere from a folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import capture
from edgeticket.device_runner.regular import is_litter, is_regular
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.convert.targets import runtimes_by_suffix
from edgeticket.pipeline.data.classes import read_classes
from edgeticket.pipeline.data.decode import SUFFIXES, decode
from edgeticket.pipeline.data.folder import Listing, list_folder
from edgeticket.pipeline.data.scaling import letterbox_step
from edgeticket.pipeline.formats.onnx_model import read_file, read_onnx
from edgeticket.pipeline.recipe.layouts import LetterboxConfig

MOST = 1000  # pictures that a bundle holds by default; more make it large, not better


@dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded pictures of one size, and what was done to them."""

    inputs: npt.NDArray[np.uint8]  # [N, H, W, C]
    labels: npt.NDArray[np.int64] | None  # None: the folder has no class folders
    names: tuple[str, ...] | None
    steps: tuple[Mapping[str, Any], ...]
    sizes: npt.NDArray[np.int64]  # [N, 2] height and width of each before them
    listing: Listing  # where they were, and what else lies there


def read_pictures(
    folder: Path, model: Path, *, names: Path | None, letterbox: LetterboxConfig | None = None
) -> Pictures:
    """The pictures of ``folder``, as large as ``model`` takes them.

    Args:
        folder: FOLDER/CLASS/*.jpg, or pictures by themselves, which then go by their names.
        model: a .onnx or .tflite file.
        names: a file of the classes in the order of their numbers; None: folders by name.
        letterbox: the whole picture, and filling around it; None: resized, and cut to the middle.

    Raises:
        InputError: there are none, one is damaged, or the model does not take pictures, or
            others than ``letterbox`` makes.
    """
    height, width, channels = picture_size(model)
    listing, classes = _list(folder, names)
    count = len(listing.files)
    keep = np.linspace(0, count - 1, min(MOST, count)).round().astype(int)
    steps: list[Mapping[str, Any]] = [{"op": "grey"}] if channels == 1 else []
    if letterbox is not None:
        if letterbox.sides != (height, width):
            rows, columns = letterbox.sides
            raise InputError(
                f"--letterbox {rows}x{columns}: {model} takes pictures of {height}x{width} "
                "(height x width): give that"
            )
        steps.append(letterbox_step(letterbox))
    elif height == width:
        side = height if height < 64 else height * 8 // 7  # as `init` writes it
        steps.append({"op": "resize", "shorter": side, "filter": "bilinear"})
        steps.append({"op": "center_crop", "size": [height, width]})
    else:
        steps.append({"op": "resize", "size": [height, width], "filter": "bilinear"})
    read = []
    for i in keep:
        picture = decode(listing.root / listing.files[i])
        changed = capture(picture[np.newaxis], steps)[0]
        read.append((changed, (picture.shape[0], picture.shape[1])))
    return Pictures(
        np.stack([picture for picture, _ in read]),
        None if classes is None else listing.labels[keep],
        classes,
        tuple(steps),
        np.array([size for _, size in read], dtype=np.int64),
        listing,
    )


def _list(folder: Path, names: Path | None) -> tuple[Listing, tuple[str, ...] | None]:
    """Picture files, and the names of their classes; None: they lie in no folders of classes."""
    try:
        entries = sorted(file for file in folder.iterdir() if not is_litter(file.name))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None
    flat = [e.name for e in entries if is_regular(e) and e.suffix.lower() in SUFFIXES]
    if flat and names is not None:
        raise InputError(
            f"{folder} has pictures that are in no folder of a class: give --labels, the number of "
            "each in the order of the files' names"
        )
    if flat:
        pictures = set(flat)
        others = tuple(e.name + "/" * e.is_dir() for e in entries if e.name not in pictures)
        return Listing(folder, tuple(flat), np.zeros(len(flat), np.int64), others), None
    layout = list_folder(folder, classes=None if names is None else read_classes(names))
    return layout.test or layout.pool, layout.classes.labels


def picture_size(model: Path) -> tuple[int, int, int]:
    """Height, width and channels of the pictures that a model file takes.

    Raises:
        InputError: it cannot be read, numbers beside it are missing, or it takes something else
            than pictures.
    """
    runtimes = runtimes_by_suffix()
    if model.suffix.lower() not in runtimes:
        raise InputError(f"{model}: give a file that ends in {' or '.join(runtimes)}")
    data = read_onnx(model) if model.suffix.lower() == ".onnx" else read_file(model)
    runtime = get_runtime(runtimes[model.suffix.lower()])
    shape = runtime.load(data, threads=1, place=str(model)).input.shape[1:]
    sizes = [size for size in shape if isinstance(size, int) and size > 0]
    if len(sizes) == len(shape) == 3:
        first, second, third = sizes
        if third in (1, 3):
            return first, second, third
        if first in (1, 3):
            return second, third, first
    raise InputError(
        f"{model} takes {list(shape)}, which pictures do not fit (height, width and 1 or 3 "
        "channels, all fixed): give --samples as .npy or .npz"
    )
