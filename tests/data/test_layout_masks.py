"""Pictures with mask pictures: every way to say what a pixel is, and what cannot be."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_fixtures import load, save, some_boxes, whole_task, write_csv, write_masks
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.data.decoded import _write_decoded
from edgeticket.pipeline.data.layouts.masks import MaskFile, read_mask
from edgeticket.pipeline.store.code import definitions_reached

TASK = whole_task("masks")
MASKS = {"masks": {"pictures": "pictures", "masks": "masks"}}
SMALL = {"resize": [24, 32]}


def parts(data: Dataset) -> tuple[Split, ...]:
    return data.train, data.validation, data.calibration, data.test


def masks_of(data: Dataset) -> np.ndarray[Any, Any]:
    return np.concatenate([s.targets.arrays["mask"] for s in parts(data)])


@pytest.mark.parametrize(
    "changes",
    [SMALL, {"resize": 24, "crop": 20}, {"letterbox": {"size": [24, 32], "fill": 0}}],
    ids=["stretched", "cut", "letterbox"],
)
def test_masks_lie_on_their_pictures(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_masks(tmp_path)
    data = load(tmp_path, TASK, **MASKS, **changes)
    assert data.labels == ("0", "1")
    agreeing = []
    for split in parts(data):
        mask = split.targets.arrays["mask"]
        assert mask.dtype == np.uint8
        assert mask.shape == split.inputs.shape[:3]
        white = split.inputs[..., 0] > 127
        counted = mask != 255
        agreeing += [(white == (mask == 1))[counted]]
    assert np.concatenate(agreeing).mean() > 0.98


def test_grey_palette_and_colours_say_the_same(tmp_path: Path) -> None:
    write_masks(tmp_path)
    grey = masks_of(load(tmp_path, TASK, **MASKS, **SMALL))
    colours = {0: (10, 20, 30), 1: (200, 0, 0), 255: (255, 255, 255)}
    for file in (tmp_path / "masks").iterdir():
        mask = np.asarray(Image.open(file))
        palette = Image.fromarray(mask, mode="P")
        palette.putpalette([0, 0, 0, 9, 9, 9] * 128)
        (tmp_path / "palette").mkdir(exist_ok=True)
        palette.save(tmp_path / "palette" / file.name)
        painted = np.zeros((*mask.shape, 3), np.uint8)
        for number, colour in colours.items():
            painted[mask == number] = colour
        save(tmp_path / "painted" / file.name, painted)
    rows = [["thing", *colours[1], 1], ["ground", *colours[0], 0], ["edge", *colours[255], 255]]
    write_csv(tmp_path / "colours.csv", ["name", "r", "g", "b", "index"], rows)
    keys = {"pictures": "pictures"}
    palette_data = load(tmp_path, TASK, masks={**keys, "masks": "palette"}, **SMALL)
    painted = {**keys, "masks": "painted", "colours": "colours.csv"}
    colour_data = load(tmp_path, TASK, masks=painted, **SMALL)
    assert colour_data.labels == ("ground", "thing")
    assert np.array_equal(masks_of(palette_data), grey)
    assert np.array_equal(masks_of(colour_data), grey)


def test_official_parts_and_the_ignored_class(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val")):
        write_masks(tmp_path / part, 6, seed=seed)
        for kind in ("pictures", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / part / kind).rename(tmp_path / kind / part)
    data = load(tmp_path, whole_task("masks", ignore=-1), **MASKS, **SMALL, calibration=1)
    assert [len(s) for s in parts(data)] == [3, 2, 1, 6]
    masks = masks_of(data)
    assert set(np.unique(masks)) == {-1, 0, 1}


def refusal(place: Path, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(place, TASK, **{**MASKS, **SMALL, **keys})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_that_cannot_be(tmp_path: Path) -> None:
    write_masks(tmp_path)
    width, height, _ = some_boxes(8)[3]
    file = tmp_path / "masks" / "3.png"
    right = np.asarray(Image.open(file))
    (tmp_path / "names.txt").write_text("ground\nthing\n")
    wrong = right.copy()
    wrong[4, 7] = 9
    for made, words in (
        (np.zeros((height + 1, width), np.uint8), [f"{width}x{height + 1}", "picture's size"]),
        (np.zeros((height, width, 3), np.uint8), ["drawn in colours", "masks.colours"]),
        (wrong, ["3.png", "x 7, y 4", "class 9", "there are 2"]),
        (np.full((height, width), 300, np.uint16), ["class 300", "0 to 254"]),
    ):
        save(file, made)
        sentence = refusal(tmp_path, classes="names.txt")
        assert [word for word in words if word not in sentence] == [], sentence
    file.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    refused = refusal(tmp_path)
    assert "no whole picture" in refused
    assert "BytesIO" not in refused
    file.unlink()
    assert "1 have no mask of their name (3)" in refusal(tmp_path)
    save(file, right)
    (tmp_path / "pictures" / "3.png").unlink()
    assert "1 have no picture of their name (3)" in refusal(tmp_path)
    save(tmp_path / "masks" / "3.jpg", right)
    assert "3" in refusal(tmp_path)


def test_masks_of_0_and_255_are_not_taken_for_empty_ones(tmp_path: Path) -> None:
    write_masks(tmp_path)
    for file in (tmp_path / "masks").iterdir():
        mask = np.asarray(Image.open(file))
        save(file, np.where(mask == 1, 255, 0).astype(np.uint8))
    assert "nothing but 0 and 255, which does not count" in refusal(tmp_path)
    write_csv(
        tmp_path / "colours.csv",
        ["name", "r", "g", "b"],
        [["ground", 0, 0, 0], ["thing", 255, 255, 255]],
    )
    both = {**MASKS["masks"], "colours": "colours.csv"}
    assert set(np.unique(masks_of(load(tmp_path, TASK, masks=both, **SMALL)))) == {0, 1}


@pytest.mark.parametrize(
    ("columns", "rows", "words"),
    [
        (["name", "r", "g"], [["a", 0, 0]], "no column 'b'"),
        (["name", "r", "g", "b"], [["a", 0, 0, 256]], "is 256: give 0 to 255"),
        (["name", "r", "g", "b"], [["a", 0, 0, "red"]], "'red'"),
        (["name", "r", "g", "b"], [["a", 0, 0, 0], ["b", 0, 0, 0]], "a colour twice"),
        (["name", "r", "g", "b", "index"], [["a", 0, 0, 0, 3]], "count them from 0"),
        (["name", "r", "g", "b", "index"], [["a", 0, 0, 0, 999]], "class 999"),
        (["name", "r", "g", "b"], [["a", 0, 0, 0]], "does not name"),
        (["name", "r", "g", "b"], [], "no rows"),
    ],
)
def test_tables_of_colours_that_cannot_be(
    tmp_path: Path, columns: list[str], rows: list[list[Any]], words: str
) -> None:
    write_masks(tmp_path)
    write_csv(tmp_path / "colours.csv", columns, rows)
    both = {**MASKS["masks"], "colours": "colours.csv"}
    assert words in refusal(tmp_path, masks=both)


def test_parts_on_one_side_alone(tmp_path: Path) -> None:
    write_masks(tmp_path / "x")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "x" / "pictures").rename(tmp_path / "pictures" / "train")
    assert "train/ alone" in refusal(tmp_path, masks={"pictures": "pictures", "masks": "x/masks"})
    write_masks(tmp_path / "y")
    (tmp_path / "y" / "pictures").rename(tmp_path / "pictures" / "val")
    assert "add it" in refusal(tmp_path, masks={"pictures": "pictures", "masks": "x/masks"})


def test_what_reads_masks_is_in_the_key_of_its_stage() -> None:
    """So that a mend of it is not hidden by what was kept."""
    wanted = MaskFile((), None, None, 255)
    read = functools.partial(read_mask, wanted=wanted)
    work = functools.partial(_write_decoded, listing=None, read=read, progress=None)
    reached = {name for _, name in definitions_reached(work)}
    assert {"read_mask", "move_mask", "nearest", "cropped", "resized", "fit"} <= reached
