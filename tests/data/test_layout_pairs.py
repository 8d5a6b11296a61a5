"""Pictures and what should be made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_fixtures import load, save, whole_task
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.pictures import resize
from edgeticket.device_runner.preprocess import capture
from edgeticket.pipeline.data import Dataset, Split

MADE = {"pairs": {"targets": "large", "factor": 2}}
GIVEN = {"pairs": {"targets": "large", "pictures": "small", "factor": 2}}


def parts(data: Dataset) -> tuple[Split, ...]:
    return data.train, data.validation, data.calibration, data.test


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Ten large pictures, and small ones that are those at half of their size."""
    rng = np.random.default_rng(0)
    for i in range(10):
        large = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        step = {"size": [12, 16], "filter": "bilinear"}
        save(tmp_path / "large" / f"{i}.png", large)
        save(tmp_path / "small" / f"{i}.png", resize(large[np.newaxis], step)[0])
    return tmp_path


def test_inputs_are_made_as_a_device_makes_them(place: Path) -> None:
    """Capture leads from the large picture to what is stored."""
    data = load(place, whole_task("images"), **MADE)
    for split in parts(data):
        image = split.targets.arrays["image"]
        assert image.dtype == np.float32
        assert image.shape[1:] == (3, 24, 32)
        large = np.moveaxis((image * 255).round().astype(np.uint8), 1, -1)
        assert np.array_equal(capture(large, data.capture), split.inputs[:])
    assert data.input_shape == (3, 12, 16)


def test_made_and_given_pictures_are_alike(place: Path) -> None:
    task = whole_task("images", peak=255.0, form="channels_last")
    made, given = load(place, task, **MADE), load(place, task, **GIVEN)
    assert made.train.targets.arrays["image"].dtype == np.uint8
    assert made.digest == given.digest
    cut = load(place, task, **GIVEN, crop=[8, 12])
    assert cut.train.inputs.shape[1:] == (4, 6, 3)
    for split in parts(cut):
        step = {"size": [4, 6], "filter": "bilinear"}
        near = resize(split.targets.arrays["image"], step).astype(int) - split.inputs[:]
        assert np.median(abs(near)) <= 12  # apart from what lies beyond the edge


def test_grey(place: Path) -> None:
    data = load(place, whole_task("images", form="grey"), **MADE, grey=True)
    assert data.test.targets.arrays["image"].shape[1:] == (24, 32)
    with pytest.raises(InputError, match=r"data\.grey: true"):
        load(place, whole_task("images", form="grey"), **MADE)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pairs": {"targets": "large"}}, "give factor"),
        ({"pairs": {"targets": "large", "factor": 5}}, "factor 5 does not divide"),
        ({"pairs": {"targets": "large", "pictures": "small", "factor": 3}}, "does not divide"),
        ({"pairs": {"targets": "large", "pictures": "small", "factor": 4}}, "factor (4) times"),
        ({**GIVEN, "crop": [10, 12]}, "not that of"),
        ({**GIVEN, "resize": 12}, "crop alone"),
        ({**MADE, "letterbox": {"size": 12}}, "not for pairs"),
        ({"pairs": {"targets": "nowhere", "factor": 2}}, "no folder nowhere"),
    ],
)
def test_pairs_that_cannot_be(place: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(place, whole_task("images"), **keys)
    assert words in str(caught.value)


def test_pictures_without_their_other(place: Path) -> None:
    (place / "small" / "3.png").unlink()
    with pytest.raises(InputError, match="no picture of their name"):
        load(place, whole_task("images"), **GIVEN)
    Image.new("RGB", (9, 9)).save(place / "small" / "3.png")
    with pytest.raises(InputError, match="9x9"):
        load(place, whole_task("images"), **GIVEN)
