"""Boxes of COCO's and YOLO's layouts: the same things in the same places, or a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_fixtures import (
    BOXES,
    draw_box,
    load,
    save,
    some_boxes,
    whole_task,
    write_coco,
    write_json,
    write_yolo,
)

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import get_task
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.data.geometry import in_input
from edgeticket.pipeline.data.targets import MOST_IN_ONE

TASK = whole_task("boxes", **BOXES)
COCO = {"coco": {"annotations": "all.json", "pictures": "all"}}
SMALL = {"resize": [16, 16]}


def parts(data: Dataset) -> tuple[Split, ...]:
    return data.train, data.validation, data.calibration, data.test


def by_class(split: Split) -> list[list[float]]:
    """Label, box and size, sorted."""
    assert split.targets is not None
    arrays = split.targets.arrays
    size = (
        arrays["size"][arrays["sample"]] if "size" in arrays else np.zeros((len(arrays["box"]), 0))
    )
    rows = np.concatenate([arrays["label"][:, np.newaxis], arrays["box"], size], axis=1)
    return sorted(rows.round(3).tolist())


def test_coco_is_read_by_the_definition(tmp_path: Path) -> None:
    """Ids that are neither dense nor in order; classes in the order of ids; disjoint splits."""
    write_coco(tmp_path)
    data = load(tmp_path, TASK, **COCO, **SMALL)
    assert data.labels == ("cat", "dog")
    expected = [
        [float(i % 2 == 0), *map(float, box), float(height), float(width)]
        for i, (width, height, box) in enumerate(some_boxes(10))
    ]
    assert sorted(row for split in parts(data) for row in by_class(split)) == sorted(expected)
    assert [len(split) for split in parts(data)] == [4, 2, 2, 2]
    arrays = data.train.targets.arrays
    assert data.train.targets.task.settings["picture"] == "stretched"
    assert (arrays["area"] <= 60).all()
    crowds = [split.targets.arrays.get("crowd", np.zeros(0)).sum() for split in parts(data)]
    assert sum(crowds) == 1


def test_what_is_white_is_where_the_boxes_say(tmp_path: Path) -> None:
    """By the device's own way from pixels of a picture to those of the input and back."""
    write_coco(tmp_path)
    for changes, picture in (
        (SMALL, "stretched"),
        ({"letterbox": {"size": 16}}, "letterbox_centre"),
        ({"letterbox": {"size": [16, 16], "place": "corner"}}, "letterbox_corner"),
        ({"resize": 18, "crop": 16}, "input"),
    ):
        data = load(tmp_path, TASK, **COCO, **changes)
        settings = get_task("boxes").settings.from_json(dict(data.test.targets.task.settings))
        assert settings.picture == picture
        boxes = 0
        for split in parts(data):
            arrays = split.targets.arrays
            moved = in_input(arrays["box"], arrays["sample"], arrays.get("size"), settings)
            for sample, box in zip(arrays["sample"], moved, strict=True):
                white = np.argwhere(split.inputs[sample][..., 0] > 127)
                if not len(white):
                    continue
                boxes += 1
                (top, left), (bottom, right) = white.min(axis=0), white.max(axis=0) + 1
                assert box == pytest.approx([left, top, right, bottom], abs=1.2)
        assert boxes >= 7


def test_yolo_gives_what_coco_gives(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_yolo(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    theirs = load(tmp_path, TASK, **COCO, **SMALL)
    ours = load(tmp_path, TASK, yolo=str(tmp_path), **SMALL)
    assert ours.labels == ("dog", "cat")
    swapped = [[1 - row[0], *row[1:]] for s in parts(theirs) for row in by_class(s)]
    both = [row for s in parts(ours) for row in by_class(s)]
    last = some_boxes(10)[-1][2]  # its picture has no file of boxes
    assert sorted(both) == sorted(row for row in swapped if row[1:5] != [*map(float, last)])
    assert sum(len(s) for s in parts(ours)) == 10


@pytest.mark.parametrize("mirrored", [True, False])
def test_official_parts_of_yolo(tmp_path: Path, mirrored: bool) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        images, labels = Path("images"), Path("labels")
        images, labels = (
            (images / part, labels / part) if mirrored else (part / images, part / labels)
        )
        write_yolo(tmp_path / images, tmp_path / labels, 8 - seed, seed=seed)
    (tmp_path / "data.yaml").write_text(
        "path: ../elsewhere\ntrain: /etc\nnc: 2\nnames:\n  0: cat\n  1: big dog\n"
    )
    data = load(tmp_path, TASK, yolo=str(tmp_path), resize=[16, 16], calibration=2, validation=5)
    assert [len(split) for split in parts(data)] == [6, 5, 2, 6]
    assert data.labels == ("cat", "big dog")


def test_every_split_has_a_share_of_rare_classes(tmp_path: Path) -> None:
    document = write_coco(tmp_path, 40)
    for i, annotation in enumerate(document["annotations"]):
        annotation["category_id"] = 4 if i % 10 == 0 else 9  # four of forty
    write_json(tmp_path / "all.json", document)
    data = load(tmp_path, TASK, **COCO, **SMALL, validation=10, calibration=10, test=10)
    assert [int((s.targets.arrays["label"] == 0).sum()) for s in parts(data)] == [1, 1, 1, 1]


def test_official_parts_of_coco(tmp_path: Path) -> None:
    write_coco(tmp_path, 9, name="train")
    write_coco(tmp_path, 5, name="val", seed=1)
    keys = {"annotations": "train.json", "pictures": "train"}
    test = {"annotations": "val.json", "pictures": "val"}
    data = load(tmp_path, TASK, coco={**keys, "test": test}, **SMALL)
    assert [len(split) for split in parts(data)] == [5, 2, 2, 5]


def test_boxes_can_be_mended(tmp_path: Path) -> None:
    document = write_coco(tmp_path)
    document["annotations"][1]["bbox"] = [-5, 3, 15, 9]  # over the edge
    document["annotations"][2]["bbox"] = [3, 3, 0, 9]
    document["annotations"][3]["bbox"] = [500, 3, 5, 9]
    write_json(tmp_path / "all.json", document)
    assert "mend_boxes: true" in refusal(tmp_path)
    data = load(tmp_path, TASK, **COCO, **SMALL, mend_boxes=True)
    boxes = np.concatenate([s.targets.arrays["box"] for s in parts(data)])
    assert len(boxes) == 8
    assert [0, 3, 10, 12] in boxes.tolist()


def refusal(place: Path, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(place, TASK, **{**COCO, **SMALL, **keys})
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 700
    return sentence


def set_box(box: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][3]["bbox"] = box

    return change


def set_image(**keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["images"][2] |= keys

    return change


def set_annotation(**keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][2] |= keys

    return change


def many(document: dict[str, Any]) -> None:
    document["annotations"] += [{**document["annotations"][1], "id": i} for i in range(10_000)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_box([3, 3, -4, 5]), ["annotations[3]", "[3, 3, -4, 5]", "no area", "mend"]),
        (set_box([3, 3, 0, 5]), ["annotations[3]", "no area"]),
        (set_box([3, 3, 400, 5]), ["annotations[3]", "outside of its picture", "pixels"]),
        (set_box([1, 2, 3]), ["annotations[3]", "[1, 2, 3]", "[x, y, width, height]"]),
        (set_box(None), ["annotations[3]", "bbox is None"]),
        (set_box(["a", 1, 1, 1]), ["annotations[3]", "in pixels"]),
        (set_annotation(category_id=77), ["annotations[2]", "77", "add it to categories"]),
        (set_annotation(image_id=77), ["annotations[2]", "no image 77"]),
        (set_annotation(iscrowd=2), ["annotations[2]", "iscrowd is 2", "0 or 1"]),
        (set_annotation(area=-1), ["annotations[2]", "area is -1"]),
        (set_image(file_name="/etc/passwd"), ["images[2]", "/etc/passwd", "relative"]),
        (set_image(file_name="../all.json"), ["images[2]", "'../all.json'", "without .."]),
        (set_image(file_name="a\\b.png"), ["images[2]", "with /"]),
        (set_image(file_name="C:/b.png"), ["images[2]", "relative"]),
        (set_image(file_name=""), ["images[2]", "no name of a file"]),
        (set_image(file_name="missing.png"), ["images[2]", "no file missing.png", "copy it"]),
        (set_image(file_name="1.png"), ["1.png is in images twice"]),
        (set_image(file_name="x\x1b[31m.png"), ["images[2]", "x\\x1b[31m.png"]),
        (set_image(file_name=7), ["images[2]", "file_name is 7"]),
        (set_image(id=1000), ["images[2]", "id 1000 again"]),
        (set_image(width=999), ["2.png has", "999x"]),
        (lambda d: d.pop("annotations"), ["annotations is missing", "instances"]),
        (lambda d: d.update(images=[]), ["names no images"]),
        (lambda d: d.update(images={"a": 1}), ["images is no list"]),
        (lambda d: d["categories"].append({"id": 4}), ["categories[2]", "id 4 again"]),
        (lambda d: d["categories"].append({"id": 5, "name": "x"}), ["2 classes", "has 3"]),
        (many, ["10,001 boxes", f"more than {MOST_IN_ONE:,}", "1.png"]),
    ],
)  # fmt: skip
def test_what_cannot_be_in_coco_is_said(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: list[str]
) -> None:
    document = write_coco(tmp_path)
    change(document)
    write_json(tmp_path / "all.json", document)
    sentence = refusal(tmp_path)
    assert [word for word in words if word not in sentence] == [], sentence


def test_files_of_coco_that_are_none(tmp_path: Path) -> None:
    write_coco(tmp_path)
    for text in ("{", "[]", '{"images": NaN}', "[" * 10_000, '{"a": 1, "a": 2}'):
        (tmp_path / "all.json").write_text(text)
        assert "all.json" in refusal(tmp_path)
    (tmp_path / "all.json").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refusal(tmp_path)
    (tmp_path / "all.json").unlink()
    assert "no file all.json" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "all")
    assert "no file all.json" in refusal(tmp_path)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_yolo(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    for file, keys in (
        (tmp_path / "all.json", {}),
        (tmp_path / "labels" / "3.txt", {"coco": None, "yolo": str(tmp_path)}),
        (tmp_path / "classes.txt", {"coco": None, "yolo": str(tmp_path)}),
    ):
        whole = file.read_bytes()
        with file.open("r+b") as sparse:
            sparse.truncate(2**32)
        assert "bytes, more than" in refusal(tmp_path, **keys)
        file.write_bytes(whole)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    save(tmp_path / "secret.png", draw_box(30, 30, (0, 0, 9, 9)))
    (tmp_path / "all" / "2.png").unlink()
    (tmp_path / "all" / "2.png").symlink_to(tmp_path / "secret.png")
    assert "2.png is a link out of" in refusal(tmp_path)
    write_yolo(tmp_path / "yolo" / "images", tmp_path / "yolo" / "labels")
    (tmp_path / "yolo" / "classes.txt").write_text("a\nb\n")
    (tmp_path / "yolo" / "labels" / "3.txt").unlink()
    (tmp_path / "outside.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "yolo" / "labels" / "3.txt").symlink_to(tmp_path / "outside.txt")
    assert "3.txt is a link out of" in refusal(tmp_path, coco=None, yolo="yolo")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    document = write_coco(tmp_path)
    (tmp_path / "all" / "2.png").rename(tmp_path / "all" / "moved.png")
    (tmp_path / "all" / "2.png").symlink_to("moved.png")
    assert sum(map(len, parts(load(tmp_path, TASK, **COCO, **SMALL)))) == len(document["images"])


def yolo(place: Path) -> Path:
    write_yolo(place / "images", place / "labels")
    (place / "classes.txt").write_text("cat\ndog\n")
    return place / "labels" / "3.txt"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", ["3.txt, line 2", "class 2", "there are 2"]),
        ("-1 0.5 0.5 0.1 0.1", ["line 2", "class -1"]),
        ("0.5 0.5 0.5 0.1 0.1", ["line 2", "class 0.5"]),
        ("0 0.5 0.5 0 0.1", ["line 2", "no area"]),
        ("0 0.5 0.5 -0.2 0.1", ["line 2", "no area"]),
        ("0 0.95 0.5 0.5 0.1", ["line 2", "outside of its picture"]),
        ("0 30 40 10 10", ["line 2", "parts of the picture's sides", "divide"]),
        ("0 0.5 0.5 0.1", ["line 2", "4 numbers"]),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", ["line 2", "polygons"]),
        ("0 nan 0.5 0.1 0.1", ["line 2", "not finite"]),
        ("cat 0.5 0.5 0.1 0.1", ["line 2", "five numbers"]),
        ("0 0.5 0.5 0.1 1e999", ["line 2", "not finite"]),
    ],
)
def test_lines_of_yolo_that_cannot_be(tmp_path: Path, line: str, words: list[str]) -> None:
    with yolo(tmp_path).open("a") as file:
        file.write(f"{line}\n")
    sentence = refusal(tmp_path, coco=None, yolo=str(tmp_path))
    assert [word for word in words if word not in sentence] == [], sentence


def test_files_of_yolo_that_cannot_be(tmp_path: Path) -> None:
    labels = yolo(tmp_path).parent

    def sentence() -> str:
        return refusal(tmp_path, coco=None, yolo=str(tmp_path))

    (labels / "extra.txt").write_text("")
    assert "extra.txt" in sentence()
    (labels / "extra.txt").unlink()
    save(tmp_path / "images" / "3.jpg", draw_box(30, 30, (0, 0, 9, 9)))
    assert "3.jpg and 3.png" in sentence()
    (tmp_path / "images" / "3.jpg").unlink()
    for names, words in (
        ("cat\n\ndog\n", "name 1 is empty"),
        ("cat\ncat\n", "'cat' twice"),
        ("cat\n", "1 classes"),
    ):
        (tmp_path / "classes.txt").write_text(names)
        assert words in sentence() or "there are 1" in sentence()
    (tmp_path / "classes.txt").unlink()
    assert "nothing names the classes" in sentence()
    for text, words in (
        ("names: [cat", "not YAML"),
        ("names: {0: cat, 2: dog}", "0 to 1"),
        ("nc: 2", "no list of names"),
        ("names: !!python/object:os.system [cat]", "tags"),
        ("a: &a [1]\nnames: *a", "aliases"),
    ):
        (tmp_path / "data.yaml").write_text(text)
        assert words in sentence()
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    shutil.rmtree(labels)
    assert "no folder" in sentence()
    labels.mkdir()
    assert "has no .txt" in sentence()


def test_settings_that_contradict_the_data(tmp_path: Path) -> None:
    write_coco(tmp_path)

    def sentence(changes: dict[str, Any], **settings: Any) -> str:
        with pytest.raises(InputError) as caught:
            load(tmp_path, whole_task("boxes", **{**BOXES, **settings}), **COCO, **changes)
        return str(caught.value)

    assert "task.input is [16, 16]" in sentence({"resize": [24, 16]})
    assert "leave 3 classes" in sentence(SMALL, scores={"count": 3})
    assert "leave 1 classes" in sentence(SMALL, background=0)
    assert "task.picture is letterbox_centre" in sentence(SMALL, picture="letterbox_centre")
    with pytest.raises(InputError, match="say task: boxes"):
        load(tmp_path, None, **COCO, **SMALL)
    with pytest.raises(InputError, match="say task: boxes"):
        load(tmp_path, whole_task("masks"), **COCO, **SMALL)
    assert "letterbox" in sentence({})  # sizes differ


def test_classes_choose_names_and_order(tmp_path: Path) -> None:
    document = write_coco(tmp_path)
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    assert load(tmp_path, TASK, **COCO, **SMALL, classes="names.txt").labels == ("dog", "cat")
    (tmp_path / "names.txt").write_text("dog\nmouse\n")
    assert "of category cat: name it in data.classes" in refusal(tmp_path, classes="names.txt")
    # Of no box: categories that nothing is of need no name.
    document["categories"].append({"id": 0, "name": "animals"})
    write_json(tmp_path / "all.json", document)
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    assert load(tmp_path, TASK, **COCO, **SMALL, classes="names.txt").labels == ("dog", "cat")


def test_parts_of_coco_have_the_same_categories(tmp_path: Path) -> None:
    write_coco(tmp_path)
    document = json.loads((tmp_path / "all.json").read_text())
    document["categories"][0]["name"] = "wolf"
    write_json(tmp_path / "other.json", document)
    test = {"annotations": "other.json", "pictures": "all"}
    assert "'wolf'" in refusal(tmp_path, coco={**COCO["coco"], "test": test})
