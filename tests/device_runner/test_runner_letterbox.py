"""Letterbox: where a picture lies, the same bytes everywhere, boxes there and back."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.letterbox import FILL, fit, letterbox, stretch
from edgeticket.device_runner.pictures import resize
from edgeticket.device_runner.preprocess import capture, preprocess

SIDES = st.integers(1, 700)
GOLDEN = "0445ea56b36502ca71cc4ada0cafdfcffa5c59144b24fd55a7d74be7f1dad0f6"


@given(height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES), corner=st.booleans())
def test_the_picture_is_as_large_as_fits(
    height: int, width: int, size: tuple[int, int], corner: bool
) -> None:
    where = fit(height, width, size, place="corner" if corner else "centre")
    assert where.inner_height == size[0] or where.inner_width == size[1]
    assert 1 <= where.inner_height <= size[0]
    assert 1 <= where.inner_width <= size[1]
    below = size[0] - where.inner_height - where.top
    behind = size[1] - where.inner_width - where.left
    if corner:
        assert (where.top, where.left) == (0, 0)
    else:
        assert below - where.top in (0, 1)
        assert behind - where.left in (0, 1)
    # Within half a pixel of the same ratio both ways, unless it would vanish.
    ratio = min(size[0] / height, size[1] / width)
    assert abs(where.inner_height - max(1, height * ratio)) <= 0.5 + 1e-9
    assert abs(where.inner_width - max(1, width * ratio)) <= 0.5 + 1e-9


@given(
    height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_boxes_go_there_and_back(height: int, width: int, size: tuple[int, int], seed: int) -> None:
    boxes = np.random.default_rng(seed).uniform(0, 700, (5, 4))
    for where in (fit(height, width, size), stretch(height, width, size)):
        np.testing.assert_allclose(where.boxes_out(where.boxes_in(boxes)), boxes, atol=1e-6)
        whole = where.boxes_in(np.array([[0, 0, width, height]]))[0]
        edges = [where.left, where.top, where.left + where.inner_width,
                 where.top + where.inner_height]  # fmt: skip
        np.testing.assert_allclose(whole, edges, atol=1e-9)


def test_a_picture_and_its_filling() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 10, 20, 3)).astype(np.uint8)
    step: dict[str, Any] = {"op": "letterbox", "size": [32, 30], "filter": "bilinear"}
    boxed = letterbox(picture, step)
    inner = resize(picture, {"size": [15, 30], "filter": "bilinear"})
    assert boxed.shape == (2, 32, 30, 3)
    np.testing.assert_array_equal(boxed[:, 8:23], inner)
    assert (boxed[:, :8] == FILL).all()
    assert (boxed[:, 23:] == FILL).all()
    corner = letterbox(picture, {**step, "place": "corner", "fill": [1, 2, 3]})
    np.testing.assert_array_equal(corner[:, :15], inner)
    assert (corner[:, 15:] == [1, 2, 3]).all()


def test_a_picture_that_fits_stays_as_it_is() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(letterbox(picture, {"size": [4, 4]}), picture)


def test_the_bytes_are_golden() -> None:
    picture = (np.arange(37 * 61 * 3) * 7919 % 256).astype(np.uint8).reshape(1, 37, 61, 3)
    boxed = letterbox(picture, {"size": [48, 48]})
    assert hashlib.sha256(boxed.tobytes()).hexdigest() == GOLDEN


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"size": [0, 8]}, "4x3 pixels into 8x0: sides are from 1 to 16384"),
        ({"size": [8, 99999]}, "4x3 pixels into 99999x8: sides"),
        ({"size": [8, 8], "place": "center"}, "place is 'center', allowed: centre, corner"),
        ({"size": [8, 8], "fill": 256}, "fill is 256, allowed: a whole number from 0 to 255, or 1"),
        ({"size": [8, 8], "fill": 1.5}, r"fill is 1\.5, allowed: a whole number"),
        ({"size": [8, 8], "fill": [1, 2]}, r"fill is \[1, 2\], allowed: .* one for each channel"),
    ],
)
def test_steps_that_cannot_be(step: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        letterbox(np.zeros((1, 3, 4, 1), np.uint8), step)


def test_it_is_a_step_of_capture_and_of_preprocessing() -> None:
    pictures = np.random.default_rng(4).integers(0, 256, (3, 5, 9, 3)).astype(np.uint8)
    step = {"op": "letterbox", "size": [8, 8], "filter": "bilinear", "place": "corner", "fill": 7}
    boxed = letterbox(pictures, step)
    np.testing.assert_array_equal(capture(pictures, [step]), boxed)
    scale = {"op": "normalize", "mean": [0.0] * 3, "std": [255.0] * 3}
    values = preprocess(pictures, [step, scale])
    np.testing.assert_array_equal(values, boxed.astype(np.float32) / np.float32(255))
