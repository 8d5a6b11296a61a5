"""Boxes in YOLO's layout: a text file for each picture, a line for each box.

    PATH/images/a.jpg          PATH/labels/a.txt           one pool, which is split
    PATH/images/train/a.jpg    PATH/labels/train/a.txt     and val/ or test/ beside train/
    PATH/train/images/a.jpg    PATH/train/labels/a.txt     the same the other way round

A line is `class x y width height`: the middle and the sides, in parts of the picture's. A picture
without a file has no boxes. Names of classes: `data.classes`, else `names` of PATH/data.yaml, else
PATH/classes.txt. Nothing else in data.yaml is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import (
    is_litter,
    is_regular,
    name_some,
    read_regular_text,
)
from edgeticket.pipeline.data.decode import SUFFIXES
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.boxes import Marked, box_settings, read_boxes
from edgeticket.pipeline.data.layouts.names import MOST_BYTES as MOST_YAML
from edgeticket.pipeline.data.layouts.names import check_names, read_names
from edgeticket.pipeline.data.layouts.part import Reading, Source
from edgeticket.pipeline.data.layouts.paths import Inside, by_stem, list_files, parts_of, shown
from edgeticket.pipeline.data.scaling import scaling
from edgeticket.pipeline.recipe.reading import parse_value

PLACE = "data.yolo"
NAMES, YAML = "classes.txt", "data.yaml"
MOST_BYTES = 2**24  # of the boxes of one picture

Folders = tuple[Path, Path]
"""Of pictures, and of the files with their boxes."""


def read_yolo(source: Source) -> Reading:
    """What `data.yolo` names.

    Raises:
        InputError: a file is missing, is something else, or says what cannot be.
    """
    assert source.cfg.yolo is not None
    root = find_file(source.cfg.yolo, folders=source.folders, kind="folder")
    labels = _names(root, source)
    parts = {
        name: read_boxes(_marked(folders, labels, source), source)
        for name, folders in _parts(root).items()
    }
    pool = parts["train"]
    return Reading(
        pool,
        parts.get("validation"),
        parts.get("test"),
        labels,
        (scaling(source.cfg, pool.inputs.shape[-1]),),
        source.steps,
        box_settings(pool, len(labels), source),
    )


def _parts(root: Path) -> dict[str, Folders]:
    """
    Raises:
        InputError: none of the layouts above.
    """
    images = root / "images"
    mirrored = images.is_dir()
    parted = parts_of(images if mirrored else root, place=PLACE)
    parts: dict[str, Folders] = {}
    for name in ("train", "validation", "test"):
        folder: Path | None = getattr(parted, name)
        if folder is None:
            continue
        if mirrored:
            parts[name] = (folder, root / "labels" / folder.relative_to(images))
        else:
            parts[name] = (folder / "images", folder / "labels")
        for place in parts[name]:
            if not place.is_dir():
                raise InputError(
                    f"{PLACE}: there is no folder {place}: {root} has images/ and labels/, or "
                    "train/ and val/ with these in each"
                )
    return parts


def _names(root: Path, source: Source) -> tuple[str, ...]:
    """
    Raises:
        InputError: nothing names the classes.
    """
    if source.cfg.classes is not None:
        return read_names(find_file(source.cfg.classes, folders=source.folders))
    return names_beside(root)


def names_beside(root: Path) -> tuple[str, ...]:
    """Names of classes that lie in a folder of this layout.

    Raises:
        InputError: nothing names the classes.
    """
    if is_regular(root / YAML):
        return _names_of_yaml(root / YAML)
    if is_regular(root / NAMES):
        return read_names(root / NAMES, place=PLACE)
    raise InputError(
        f"{PLACE}: nothing names the classes: put {NAMES} with a name in each line into {root}, or "
        "say data.classes"
    )


def _names_of_yaml(file: Path) -> tuple[str, ...]:
    """`names` of a data.yaml: a list, or a mapping of numbers from 0."""
    text = read_regular_text(file, kind=PLACE, limit_bytes=MOST_YAML)
    place = f"{PLACE}: {file}"
    document = parse_value(text, place=place, number_keys=True)
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        if set(names) != {str(i) for i in range(len(names))}:
            raise InputError(f"{place}: names must have the numbers 0 to {len(names) - 1}, all")
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list):
        raise InputError(f"{place} has no list of names: write names: [cat, dog]")
    return check_names([str(name) for name in names], place=place)


def _marked(folders: Folders, labels: tuple[str, ...], source: Source) -> Marked:
    """
    Raises:
        InputError: a line that is no box; names file and line.
    """
    root, texts = folders
    names = list_files(root, SUFFIXES, place=PLACE, tell=source.progress.say)
    stems = by_stem(names, place=PLACE)
    listed = _label_files(texts, stems)
    inside = Inside(texts)
    sample: list[int] = []
    rows: list[tuple[float, ...]] = []
    places: list[tuple[int, int]] = []  # picture and line
    for number, stem in enumerate(stems):
        if stem not in listed:
            continue
        file = texts / inside.check(f"{stem}.txt", where=PLACE)
        text = read_regular_text(file, kind=PLACE, limit_bytes=MOST_BYTES)
        for line, words in enumerate(map(str.split, text.splitlines()), start=1):
            if words:
                rows.append(_row(words, labels, where=f"{PLACE}: {file}, line {line}"))
                sample.append(number)
                places.append((number, line))
    numbers = np.array(rows, dtype=np.float64).reshape(-1, 5)
    middle, sides = numbers[:, 1:3], numbers[:, 3:]
    ordered = list(stems)

    def where(i: int) -> str:
        picture, line = places[i]
        told = " ".join(f"{value:g}" for value in rows[i])
        return f"{PLACE}: {texts / (ordered[picture] + '.txt')}, line {line}: {told}"

    return Marked(
        root,
        names if list(stems.values()) == list(names) else tuple(stems.values()),
        np.array(sample, dtype=np.int64),
        np.concatenate([middle - sides / 2, middle + sides / 2], axis=1),
        numbers[:, 0].astype(np.int64),
        where,
        normalized=True,
    )


def _label_files(texts: Path, stems: dict[str, str]) -> set[str]:
    """Which pictures have a file of boxes.

    Raises:
        InputError: none has, or a file has no picture.
    """
    files = {
        path.relative_to(texts).with_suffix("").as_posix()
        for path in texts.rglob("*.txt")
        if not is_litter(path.name) and path.name != NAMES
    }
    strange = sorted(files - stems.keys())
    if strange:
        raise InputError(
            f"{PLACE}: {texts} has files without a picture of their name "
            f"({name_some([shown(PurePosixPath(name + '.txt')) for name in strange])}): add the "
            "pictures, or remove the files"
        )
    if not files:
        raise InputError(f"{PLACE}: {texts} has no .txt: each picture with boxes has one")
    return files


def _row(words: Sequence[str], labels: tuple[str, ...], *, where: str) -> tuple[float, ...]:
    """One line -> class, x, y, width, height.

    Raises:
        InputError: it is none.
    """
    line = shown(" ".join(words[:8]))
    if len(words) != 5:
        kind = "polygons and poses are not read; " if len(words) > 6 else ""
        raise InputError(
            f"{where}: {line} has {len(words)} numbers: {kind}a box is `class x y width height`"
        )
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise InputError(f"{where}: {line} holds no five numbers: mend the line") from None
    if not all(map(math.isfinite, values)):
        raise InputError(f"{where}: {line} has a number that is not finite: mend the line")
    if values[0] not in range(len(labels)):
        raise InputError(
            f"{where}: {line} is of class {words[0]}, but there are {len(labels)}, counted from 0: "
            "mend the line, or name all classes"
        )
    if max(map(abs, values[1:])) > 2:
        raise InputError(
            f"{where}: {line} is not in parts of the picture's sides, 0 to 1: divide pixels by them"
        )
    return tuple(values)
