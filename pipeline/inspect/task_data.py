"""What lies in a folder or a file for a task, as the lines of a recipe's `data`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import is_regular, read_regular
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.pipeline.data.decode import SUFFIXES
from edgeticket.pipeline.data.layouts.coco import MOST_BYTES
from edgeticket.pipeline.data.layouts.masks import LOSSLESS
from edgeticket.pipeline.data.layouts.yolo import names_beside

PICTURES = ("pictures", "images", "imgs", "image", "JPEGImages")
MASKS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
PARTS = {"train": "train", "val": "validation", "test": "test"}  # by what a path has in it
IGNORED = 255
LOOKED_AT = 300  # masks whose classes are read


@dataclass(frozen=True)
class Laid:
    """Data as a recipe names them, beside the sizes of pictures."""

    source: Mapping[str, Any]  # a key of `data`
    kept: Path  # the folder of pictures that the recipe begins with
    pictures: tuple[Path, ...]
    classes: int


def lay_boxes(root: Path) -> Laid:
    """Pictures with boxes in the layout of COCO or of YOLO.

    Raises:
        InputError: neither lies there; names both layouts.
    """
    laid = _yolo(root) or _coco(root)
    if laid is None:
        raise InputError(
            f"{root} has no boxes: give a folder with a .json of instances, as COCO has them, and "
            "the pictures that it names; or with images/ and labels/, as YOLO has them "
            "(docs/data.md)"
        )
    return laid


def lay_masks(root: Path) -> Laid:
    """Pictures in one folder, a mask for each in another.

    Raises:
        InputError: the folders are not there, or masks have colours that nothing names.
    """
    folders = [_first(root, names) for names in (PICTURES, MASKS)]
    pictures, masks = folders
    if pictures is None or masks is None:
        raise InputError(
            f"{root} has no pictures with masks: give a folder with pictures/NAME.jpg and "
            "masks/NAME.png, of one size (docs/data.md)"
        )
    return Laid(
        {"masks": {"pictures": str(pictures.absolute()), "masks": str(masks.absolute())}},
        pictures,
        _files(pictures, SUFFIXES),
        _mask_classes(masks),
    )


def guess_task(data: Path) -> str | None:
    """The task whose layout lies there; None: it is none, or may be a folder of classes."""
    if data.suffix.lower() == ".csv":
        return "series"
    if data.suffix.lower() == ".json" or _yolo_folders(data) is not None or _instances(data):
        return "boxes"
    if _first(data, PICTURES) is not None and _first(data, MASKS) is not None:
        return "masks"
    return None


def _yolo_folders(root: Path) -> Path | None:
    """The folder of pictures, where labels of YOLO lie beside it."""
    for images, labels in (("images", "labels"), ("train/images", "train/labels")):
        if (root / images).is_dir() and any((root / labels).rglob("*.txt")):
            return root / images
    return None


def _yolo(root: Path) -> Laid | None:
    images = _yolo_folders(root)
    if images is None:
        return None
    names = names_beside(root)
    return Laid({"yolo": str(root.absolute())}, images, _files(images, SUFFIXES), len(names))


def _coco(root: Path) -> Laid | None:
    instances = _instances(root)
    if not instances:
        return None
    parts: dict[str, tuple[Path, Path, Mapping[str, Any]]] = {}
    for file, document in instances.items():
        words = file.relative_to(root if root.is_dir() else root.parent).as_posix().lower()
        part = next((name for word, name in PARTS.items() if word in words), "train")
        if part in parts:
            raise InputError(
                f"{parts[part][0]} and {file} both hold boxes for {part}: give the one that is "
                "meant, or write data.coco by hand (docs/data.md)"
            )
        parts[part] = (file, _folder_of(document, file), document)
    if "train" not in parts:
        raise InputError(
            f"{next(iter(instances))} has boxes, but nothing for training lies in {root}: give the "
            "one file that is to be split"
        )
    if "test" not in parts and "validation" in parts:  # as of folders: val/ is the test set then
        parts["test"] = parts.pop("validation")
    named = {
        part: {"annotations": str(file.absolute()), "pictures": str(folder.absolute())}
        for part, (file, folder, _) in parts.items()
    }
    _, folder, document = parts["train"]
    return Laid(
        {"coco": {**named.pop("train"), **named}},
        folder,
        tuple(folder / str(image["file_name"]) for image in document["images"]),
        len(document["categories"]),
    )


def _instances(root: Path) -> dict[Path, Mapping[str, Any]]:
    """Files of boxes in COCO's layout, in a folder, or one below it."""
    files = sorted((*root.glob("*.json"), *root.glob("*/*.json"))) if root.is_dir() else [root]
    instances: dict[Path, Mapping[str, Any]] = {}
    for file in files:
        if file.suffix.lower() != ".json" or not is_regular(file):
            continue
        try:
            data = read_regular(file, kind="annotations", limit_bytes=MOST_BYTES)
            document = parse_json(data, place=str(file))
        except InputError:
            if file == root:
                raise
            continue
        if not isinstance(document, dict):
            continue
        lists = [document.get(key) for key in ("images", "annotations", "categories")]
        if not all(isinstance(item, list) and item for item in lists):
            continue
        whole = all(isinstance(row, dict) for rows in lists for row in rows or ())
        if whole and any("bbox" in row for row in document["annotations"]):
            instances[file] = document
    return instances


def _folder_of(document: Mapping[str, Any], file: Path) -> Path:
    """Where the pictures lie that a file names.

    Raises:
        InputError: nowhere near it.
    """
    first = str(document["images"][0].get("file_name"))
    near = [file.parent, *_below(file.parent), file.parent.parent, *_below(file.parent.parent)]
    # Of several folders the one that has all of them: splits often count their files alike.
    names = [str(image.get("file_name")) for image in document["images"][:: max(1, len(near))]]
    for folder in near:
        if all(is_regular(folder / name) for name in names):
            return folder
    raise InputError(
        f"{file} names {first}, which lies neither beside it nor in a folder beside it: put the "
        "pictures there, or write data.coco by hand (docs/data.md)"
    )


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _first(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _files(folder: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes))


def _mask_classes(folder: Path) -> int:
    """How many classes the masks have, as far as some of them show.

    Raises:
        InputError: there are none, or they are drawn in colours.
    """
    files = _files(folder, LOSSLESS)
    values: set[int] = set()
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        try:
            with Image.open(file) as image:
                if image.mode not in ("1", "L", "P", "I", "I;16"):
                    raise InputError(
                        f"{file} is drawn in colours: write a .csv with the lines `name,r,g,b` and "
                        "one for each class, and data.masks by hand (docs/data.md#masks)"
                    )
                values |= {int(value) for value in np.unique(np.asarray(image))}
        except (OSError, ValueError, SyntaxError):
            continue  # what cannot be read is named when it is decoded
    if not values:
        raise InputError(f"{folder} has no mask that can be read: give NAME.png for each picture")
    if values <= {0, IGNORED} and IGNORED in values:
        raise InputError(
            f"masks in {folder} have nothing but 0 and 255, and 255 counts for nothing: write a "
            ".csv with the lines `name,r,g,b`, `background,0,0,0` and `thing,255,255,255`, and "
            "name it as data.masks.colours by hand (docs/data.md#masks)"
        )
    return max(values - {IGNORED}, default=0) + 1
