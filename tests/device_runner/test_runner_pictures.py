"""The runner's steps on pictures, against Pillow and torchvision: equal bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import capture, preprocess
from edgeticket.models.torchvision_cure import import_torchvision

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIDES = st.integers(1, 120)


def picture(height: int, width: int, channels: int = 3) -> Any:
    rng = np.random.default_rng([height, width])
    return rng.integers(0, 256, (1, height, width, channels)).astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), name=st.sampled_from([*FILTERS]))
def test_resize_is_pillows(old: tuple[int, int], new: tuple[int, int], name: str) -> None:
    given_picture = picture(*old)
    turned = old[0] - new[0] > 2 * (old[1] - new[1]) and old[0] > new[0]
    if turned:  # here Pillow 13 takes rows first
        lying = given_picture.transpose(0, 2, 1, 3)
        again = capture(lying, [{"op": "resize", "size": [*new[::-1]], "filter": name}])
        found = again.transpose(0, 2, 1, 3)
    else:
        found = capture(given_picture, [{"op": "resize", "size": [*new], "filter": name}])
    expected = Image.fromarray(given_picture[0]).resize((new[1], new[0]), FILTERS[name])
    np.testing.assert_array_equal(found[0], np.asarray(expected))


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (64, 64), (70, 300), (31, 45), (1, 1)])
@pytest.mark.parametrize("name", [*FILTERS])
def test_resize_and_crop_are_torchvisions(size: tuple[int, int], name: str) -> None:
    transforms = import_torchvision().transforms
    mode = transforms.InterpolationMode(name)
    theirs = transforms.Compose([transforms.Resize(72, mode), transforms.CenterCrop(65)])
    steps = [
        {"op": "resize", "shorter": 72, "filter": name},
        {"op": "center_crop", "size": [65, 65]},
    ]
    given_picture = picture(*size)
    expected = np.asarray(theirs(Image.fromarray(given_picture[0])))
    np.testing.assert_array_equal(capture(given_picture, steps)[0], expected)


def test_grey_is_pillows() -> None:
    given_picture = picture(40, 50)
    expected = np.asarray(Image.fromarray(given_picture[0]).convert("L"))
    np.testing.assert_array_equal(capture(given_picture, [{"op": "grey"}])[0, ..., 0], expected)


def test_steps_on_pictures_come_before_those_on_numbers() -> None:
    crop = {"op": "center_crop", "size": [2, 2]}
    scale = {"op": "normalize", "mean": [1.0] * 3, "std": [2.0] * 3}
    inputs = picture(4, 4)
    np.testing.assert_array_equal(
        preprocess(inputs, [crop, scale]), preprocess(inputs[:, 1:3, 1:3], [scale])
    )
    with pytest.raises(InputError, match="steps on pictures come before"):
        preprocess(inputs, [scale, crop])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"op": "center_crop", "size": [9, 2]}], "4x3 pixels are too few to cut 2x9 out"),
        ([{"op": "resize", "shorter": 16000, "filter": "bilinear"}], "4x3 pixels would become"),
        ([{"op": "normalize"}], "capture: unknown op 'normalize'"),
    ],
)
def test_steps_that_do_not_fit_are_refused(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        capture(picture(3, 4), [*steps, *steps])


def test_pictures_are_whole_numbers() -> None:
    with pytest.raises(InputError, match="grey takes uint8"):
        capture(picture(3, 4).astype(np.float32), [{"op": "grey"}])
    with pytest.raises(InputError, match="1 or 3 channels, not 4"):
        capture(picture(3, 4, 4), [{"op": "grey"}])
