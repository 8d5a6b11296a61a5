"""Pictures with mask pictures: what every pixel is, as a grey value, a palette's number, or a
colour that a table names."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.pipeline.data.decode import DAMAGE, MOST_BYTES, MOST_PIXELS, SUFFIXES, damaged
from edgeticket.pipeline.data.decoded import Decoded, keep_decoded
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.folder import Listing
from edgeticket.pipeline.data.geometry import move_mask
from edgeticket.pipeline.data.layouts.colours import NOTHING, Colours, read_colours
from edgeticket.pipeline.data.layouts.names import read_names
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source
from edgeticket.pipeline.data.layouts.paths import list_files, match_stems, parts_of
from edgeticket.pipeline.data.scaling import scaling

PLACE = "data.masks"
LOSSLESS = frozenset((".png", ".bmp", ".tif", ".tiff", ".pgm"))


def read_masks(source: Source) -> Reading:
    """What `data.masks` names.

    Raises:
        InputError: a picture without a mask, or a mask that does not fit; names it.
    """
    cfg = source.cfg.masks
    assert cfg is not None
    pictures = parts_of(
        find_file(cfg.pictures, folders=source.folders, kind="folder"), place=f"{PLACE}.pictures"
    )
    masks = parts_of(
        find_file(cfg.masks, folders=source.folders, kind="folder"), place=f"{PLACE}.masks"
    )
    labels, colours = _labels(source)
    parts: dict[str, Part] = {}
    for name in ("train", "validation", "test"):
        folder, beside = getattr(pictures, name), getattr(masks, name)
        if (folder is None) != (beside is None):
            here, missing = (folder, cfg.masks) if beside is None else (beside, cfg.pictures)
            raise InputError(f"{PLACE}: {here} has no folder of its name in {missing}: add it")
        if folder is not None:
            parts[name] = _part(folder, beside, labels, colours, source)
    if labels is None:
        labels = _counted(parts, source)
    pool = parts["train"]
    return Reading(
        pool,
        parts.get("validation"),
        parts.get("test"),
        labels,
        (scaling(source.cfg, pool.inputs.shape[-1]),),
        source.steps,
    )


def _labels(source: Source) -> tuple[tuple[str, ...] | None, Colours | None]:
    """Names of classes, as far as something names them, and their colours."""
    cfg = source.cfg.masks
    assert cfg is not None
    wanted = source.cfg.classes
    if cfg.colours is None:
        named = read_names(find_file(wanted, folders=source.folders)) if wanted else None
        return named, None
    if wanted is not None:
        raise InputError("data.classes: masks.colours names the classes: leave one of them out")
    return read_colours(find_file(cfg.colours, folders=source.folders))


def _part(
    folder: Path,
    beside: Path,
    labels: tuple[str, ...] | None,
    colours: Colours | None,
    source: Source,
) -> Part:
    tell = source.progress.say
    names = list_files(folder, SUFFIXES, place=PLACE, tell=tell)
    others = list_files(beside, LOSSLESS, place=PLACE, tell=tell)
    matched = match_stems(names, others, place=PLACE, what=("picture", "mask"))
    pictures = source.decode(folder, names)
    ignore = int(source.task.settings.get("ignore", NOTHING))
    read = MaskFile(
        tuple(dict(step) for step in source.steps),
        colours,
        None if labels is None else len(labels),
        ignore,
    )
    listing = Listing(beside, tuple(matched), np.zeros(len(matched), np.int64))
    masks = keep_decoded(
        "masks",
        listing,
        functools.partial(read_mask, wanted=read),
        config={"steps": read.steps, "colours": colours, "classes": read.classes, "ignore": ignore},
        store=source.store,
        progress=source.progress,
    )
    _check_sizes(listing, masks, pictures)
    mask = np.asarray(masks.arrays[:])
    if not 0 <= ignore <= NOTHING:  # what the file says does not count has a number of its own
        mask = np.where(mask == NOTHING, np.int32(ignore), mask.astype(np.int32))
    return Part(pictures.arrays, {"mask": mask})


def _check_sizes(listing: Listing, masks: Decoded, pictures: Decoded) -> None:
    wrong = (masks.sizes != pictures.sizes).any(axis=1)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        (height, width), (picture_height, picture_width) = masks.sizes[i], pictures.sizes[i]
        raise InputError(
            f"{PLACE}: {listing.root / listing.files[i]} has {width}x{height} pixels, its picture "
            f"{picture_width}x{picture_height} upright: give a mask of the picture's size"
        )


def _counted(parts: Mapping[str, Part], source: Source) -> tuple[str, ...]:
    """Names for classes that nothing names: their numbers.

    Raises:
        InputError: another part has more classes than the pool.
    """
    ignore = int(source.task.settings.get("ignore", NOTHING))
    most: dict[str, int] = {}
    for name, part in parts.items():
        mask = part.arrays["mask"]
        counted = mask[mask != ignore]
        if name == "train" and not counted.any():
            raise InputError(
                f"{PLACE}: masks have nothing but 0 and {ignore}, which does not count "
                "(task.ignore): draw classes as 1, 2, ..., or name their colours in "
                "data.masks.colours"
            )
        most[name] = int(counted.max(initial=0))
    if max(most.values()) > most["train"]:
        name = max(most, key=lambda part: most[part])
        raise InputError(
            f"{PLACE}: {name} has class {most[name]}, the pool goes to {most['train']}: name all "
            "classes in data.classes"
        )
    return tuple(map(str, range(max(most["train"] + 1, 2))))


@dataclass(frozen=True)
class MaskFile:
    """How a mask file is read: the picture's steps, the table of colours, how many classes there
    are (None: any), and the number that does not count."""

    steps: tuple[dict[str, Any], ...]
    colours: Colours | None
    classes: int | None
    ignore: int


def read_mask(path: Path, *, wanted: MaskFile) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """A mask file -> classes uint8 [H, W] behind the picture's steps, and its own size.

    Raises:
        InputError: it is no whole picture, or has a colour or class that is not known.
    """
    mask = _classes_of(path, wanted.colours)
    fill = wanted.ignore if 0 <= wanted.ignore <= NOTHING else NOTHING
    if wanted.colours is not None:
        mask = np.where(mask == NOTHING, np.uint8(fill), mask)
    if wanted.classes is not None:
        wrong = (mask >= wanted.classes) & (mask != fill)
        if wrong.any():
            y, x = np.argwhere(wrong)[0]
            raise InputError(
                f"{path}: the pixel x {x}, y {y} is of class {mask[y, x]}, but there are "
                f"{wanted.classes}, counted from 0, and {wanted.ignore} does not count: name all "
                "classes, or mend the mask"
            )
    return move_mask(mask, wanted.steps, fill=fill), (mask.shape[0], mask.shape[1])


def _classes_of(path: Path, colours: Colours | None) -> npt.NDArray[np.uint8]:
    data = read_regular(path, limit_bytes=MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise InputError(
                        f"{path} has {image.width}x{image.height} pixels, more than "
                        f"{MOST_PIXELS:,}: make it smaller"
                    )
                return _in_colours(image, colours, path) if colours else _numbers(image, path)
    except DAMAGE as error:
        raise damaged(path, error) from None


def _numbers(image: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    """Grey values, or the numbers of a palette."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > NOTHING:
            raise InputError(f"{path} has class {values.max()}: there are 0 to {NOTHING - 1}")
        return values.astype(np.uint8)
    if image.mode not in ("L", "P", "1"):
        raise InputError(
            f"{path} is drawn in colours ({image.mode}): say in data.masks.colours which class "
            "each is, or save the numbers of classes as grey values"
        )
    return np.asarray(image).astype(np.uint8)


def _in_colours(image: Image.Image, colours: Colours, path: Path) -> npt.NDArray[np.uint8]:
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    known = np.array(sorted(colours), dtype=np.int64)
    at = np.minimum(np.searchsorted(known[:, 0], packed), len(known) - 1)
    wrong = known[at, 0] != packed
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise InputError(
            f"{path}: the pixel x {x}, y {y} has the colour {pixels[y, x].tolist()}, which "
            f"data.masks.colours does not name: add it, with the class {NOTHING} if it does not "
            "count"
        )
    return np.asarray(known[at, 1].astype(np.uint8))
