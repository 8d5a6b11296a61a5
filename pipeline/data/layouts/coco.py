"""Boxes in COCO's layout: one JSON file of images, annotations and categories, and a folder.

https://cocodataset.org/#format-data. Polygons, keypoints and captions are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.pipeline.data.decode import SUFFIXES
from edgeticket.pipeline.data.files import find_file
from edgeticket.pipeline.data.layouts.boxes import Marked, box_settings, read_boxes
from edgeticket.pipeline.data.layouts.names import read_names
from edgeticket.pipeline.data.layouts.part import Part, Reading, Source
from edgeticket.pipeline.data.layouts.paths import Inside, first_twice, shown
from edgeticket.pipeline.data.scaling import scaling
from edgeticket.pipeline.recipe.layouts import CocoPart

MOST_BYTES = 2**31


def read_coco(source: Source) -> Reading:
    """What `data.coco` names.

    Raises:
        InputError: a file is missing, is something else, or says what cannot be.
    """
    cfg = source.cfg.coco
    assert cfg is not None
    documents = {
        "data.coco": (cfg, _document(cfg, source, place="data.coco")),
        **{
            f"data.coco.{name}": (part, _document(part, source, place=f"data.coco.{name}"))
            for name, part in (("validation", cfg.validation), ("test", cfg.test))
            if part is not None
        },
    }
    wanted = source.cfg.classes
    named = read_names(find_file(wanted, folders=source.folders)) if wanted else None
    first = next(iter(documents.values()))[1]
    labels = named or tuple(str(name) for _, name in sorted(first.categories.items()))
    parts: dict[str, Part] = {}
    for place, (part, document) in documents.items():
        numbers = _numbers(document, first, named, place=place)
        parts[place] = read_boxes(_marked(part, document, numbers, source), source)
    pool = parts["data.coco"]
    return Reading(
        pool,
        parts.get("data.coco.validation"),
        parts.get("data.coco.test"),
        labels,
        (scaling(source.cfg, pool.inputs.shape[-1]),),
        source.steps,
        box_settings(pool, len(labels), source),
    )


class _Document:
    """The three lists of a file, checked so far that they are what they are called."""

    def __init__(self, file: Path, *, place: str) -> None:
        self.file = file
        self.title = f"{place}.annotations: {file}"
        data = read_regular(file, kind=f"{place}.annotations", limit_bytes=MOST_BYTES)
        document = parse_json(data, place=self.title)
        if not isinstance(document, dict):
            raise InputError(f"{self.title} holds no object with images, annotations, categories")
        self.images = self._list(document, "images")
        self.annotations = self._list(document, "annotations")
        self.categories: dict[int, str] = {}
        for i, category in enumerate(self._list(document, "categories")):
            number = self.number(category, "id", f"categories[{i}]")
            if number in self.categories:
                raise InputError(f"{self.title}: categories[{i}] has the id {number} again")
            self.categories[number] = str(category.get("name", number))
        if not self.images:
            raise InputError(f"{self.title} names no images")

    def _list(self, document: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
        items = document.get(key)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InputError(
                f"{self.title}: {key} is {'missing' if items is None else 'no list of objects'}: "
                "give a file of instances, as COCO has them"
            )
        return items

    def number(self, item: Mapping[str, Any], key: str, where: str) -> int:
        """
        Raises:
            InputError: the key is missing, or no whole number.
        """
        value = item.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(
                f"{self.title}: {where}: {key} is {shown(repr(value))}: it must be a whole number"
            )
        return value


def _document(part: CocoPart, source: Source, *, place: str) -> _Document:
    return _Document(find_file(part.annotations, folders=source.folders), place=place)


def _numbers(
    document: _Document, first: _Document, named: tuple[str, ...] | None, *, place: str
) -> dict[int, int]:
    """Ids of categories -> classes from 0: as the names are listed, else in the order of ids.

    Raises:
        InputError: parts whose categories differ.
    """
    if named is not None:
        classes = {name: i for i, name in enumerate(named)}
        known = {number: classes.get(name) for number, name in document.categories.items()}
        return {number: i for number, i in known.items() if i is not None}
    other = next(
        (n for n, name in document.categories.items() if first.categories.get(n) != name), None
    )
    if other is not None:
        raise InputError(
            f"{document.title}: category {other} is {shown(document.categories[other])!r}, in "
            f"{first.file} it is {shown(first.categories.get(other, 'missing'))!r}: parts have the "
            "same categories, or data.classes names them"
        )
    return {number: i for i, number in enumerate(sorted(first.categories))}


def _marked(
    part: CocoPart, document: _Document, numbers: Mapping[int, int], source: Source
) -> Marked:
    """
    Raises:
        InputError: an image or annotation that cannot be.
    """
    root = find_file(part.pictures, folders=source.folders, kind="folder")
    names, samples, declared = _images(document, root)
    rows = [_row(document, i, samples, numbers) for i in range(len(document.annotations))]
    box = np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    has_area = [row[4] is not None for row in rows]
    if any(has_area) and not all(has_area):
        raise InputError(
            f"{document.title}: annotations[{has_area.index(False)}] has no area, others have one: "
            "give it to all or none"
        )

    def where(i: int) -> str:
        item = document.annotations[i]
        name = shown(names[samples[item["image_id"]]])
        return f"{document.title}: annotations[{i}] ({name}): bbox {item['bbox']}"

    return Marked(
        root,
        names,
        np.array([row[0] for row in rows], dtype=np.int64),
        box,
        np.array([row[1] for row in rows], dtype=np.int64),
        where,
        crowd=np.array([row[3] for row in rows], dtype=np.uint8),
        area=np.array([row[4] for row in rows], dtype=np.float64) if any(has_area) else None,
        declared=declared,
    )


def _images(document: _Document, root: Path) -> tuple[tuple[str, ...], dict[int, int], Any]:
    """Names of the pictures, which picture an image's id is, and their declared sizes."""
    inside = Inside(root)
    names: list[str] = []
    samples: dict[int, int] = {}
    declared = np.zeros((len(document.images), 2), np.int64)
    for i, image in enumerate(document.images):
        where = f"{document.title}: images[{i}]"
        number = document.number(image, "id", f"images[{i}]")
        if number in samples:
            raise InputError(f"{where} has the id {number} again: ids are given once")
        name = image.get("file_name")
        if not isinstance(name, str):
            raise InputError(f"{where}: file_name is {shown(repr(name))}: it must be a text")
        name = inside.check(name, where=where)
        if Path(name).suffix.lower() not in SUFFIXES:
            raise InputError(f"{where}: {shown(name)} is no picture by its suffix: leave it out")
        names.append(name)
        samples[number] = i
        for axis, key in enumerate(("height", "width")):
            side = image.get(key, 0)
            if not isinstance(side, int) or isinstance(side, bool) or not 0 <= side < 2**31:
                raise InputError(f"{where}: {key} is {shown(repr(side))}: it must be in pixels")
            declared[i, axis] = side
    twice = first_twice(names)
    if twice is not None:
        raise InputError(f"{document.title}: {shown(twice)} is in images twice: join the two")
    return tuple(names), samples, declared


def _row(
    document: _Document, i: int, samples: Mapping[int, int], numbers: Mapping[int, int]
) -> tuple[int, int, list[float], int, float | None]:
    """sample, class, [x, y, w, h], crowd, area of annotation ``i``."""
    item, place = document.annotations[i], f"annotations[{i}]"
    where = f"{document.title}: {place}"
    image = document.number(item, "image_id", place)
    if image not in samples:
        raise InputError(f"{where}: there is no image {image}: take the annotation out")
    category = document.number(item, "category_id", place)
    if category not in numbers:
        names = document.categories
        what = shown(names[category]) if category in names else f"{category}, which is not there"
        way = "name it in data.classes" if category in names else "add it to categories"
        raise InputError(f"{where} is of category {what}: {way}, or take the annotation out")
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_real, box)):
        raise InputError(
            f"{where}: bbox is {shown(repr(box))}: it must be [x, y, width, height] in pixels"
        )
    crowd = item.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise InputError(f"{where}: iscrowd is {shown(repr(crowd))}: it must be 0 or 1")
    area = item.get("area")
    if area is not None and (not _is_real(area) or area < 0):
        raise InputError(f"{where}: area is {shown(repr(area))}: it must be in pixels")
    return samples[image], numbers[category], box, int(crowd), area


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
