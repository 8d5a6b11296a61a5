"""Boxes, points and masks go where the pixels of their pictures go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.preprocess import capture
from edgeticket.device_runner.task.boxes.settings import BoxesSettings, Part
from edgeticket.pipeline.data.geometry import cut, in_input, move_mask, move_of, nearest, picture_of

Steps = list[Mapping[str, Any]]
SIDES = st.integers(20, 90)

steps_of_pictures = st.one_of(
    st.just([]),
    st.tuples(SIDES, SIDES).map(
        lambda size: [{"op": "resize", "size": list(size), "filter": "bilinear"}]
    ),
    st.integers(20, 60).map(
        lambda side: [
            {"op": "grey"},
            {"op": "resize", "shorter": side, "filter": "bilinear"},
            {"op": "center_crop", "size": [side - 4, side - 3]},
        ]
    ),
    st.tuples(SIDES, SIDES, st.sampled_from(["centre", "corner"])).map(
        lambda given: [
            {
                "op": "letterbox",
                "size": list(given[:2]),
                "filter": "bilinear",
                "place": given[2],
                "fill": 0,
            }
        ]
    ),
)


@st.composite
def drawn(draw: Any) -> tuple[np.ndarray[Any, Any], tuple[int, int, int, int]]:
    """A black picture with a white box in it, and where that is."""
    height, width = draw(SIDES), draw(SIDES)
    x1, y1 = draw(st.integers(0, width - 12)), draw(st.integers(0, height - 12))
    x2, y2 = draw(st.integers(x1 + 10, width)), draw(st.integers(y1 + 10, height))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y1:y2, x1:x2] = 255
    return picture, (x1, y1, x2, y2)


@settings(max_examples=60, deadline=None)
@given(drawn(), steps_of_pictures)
def test_a_box_that_is_drawn_follows_its_picture(made: Any, steps: Steps) -> None:
    """What is white behind the steps is what the moved box says, to the pixel at its edges."""
    picture, box = made
    moved = capture(picture[np.newaxis], steps)[0]
    move = move_of(steps, *picture.shape[:2])
    assert move.size == moved.shape[:2]
    (where,) = move.boxes(np.array([box]))
    x = np.arange(moved.shape[1]) + 0.5
    y = np.arange(moved.shape[0]) + 0.5
    slack_x, slack_y = 0.5 + max(1.0, move.factor[0]), 0.5 + max(1.0, move.factor[1])
    inner = np.outer(
        (y > where[1] + slack_y) & (y < where[3] - slack_y),
        (x > where[0] + slack_x) & (x < where[2] - slack_x),
    )
    outer = np.outer(
        (y > where[1] - slack_y) & (y < where[3] + slack_y),
        (x > where[0] - slack_x) & (x < where[2] + slack_x),
    )
    white = moved[..., 0] > 127
    assert white[inner].all()
    assert not white[~outer].any()


@settings(max_examples=60, deadline=None)
@given(drawn(), steps_of_pictures)
def test_a_mask_follows_its_picture(made: Any, steps: Steps) -> None:
    """Nearest pixels lie where the picture's do; nothing is mixed; fill is around it."""
    picture, _ = made
    mask = (picture[..., 0] > 0).astype(np.uint8) * 3
    moved = move_mask(mask, steps, fill=255)
    move = move_of(steps, *mask.shape)
    assert moved.shape == move.size
    assert set(np.unique(moved)) <= {0, 3, 255}
    y, x = np.mgrid[: moved.shape[0], : moved.shape[1]] + 0.5
    # Back to the picture: the pixel in which the middle lies.
    old_x = (x - move.shift[0]) / move.factor[0]
    old_y = (y - move.shift[1]) / move.factor[1]
    inside = (old_x > 0) & (old_x < mask.shape[1]) & (old_y > 0) & (old_y < mask.shape[0])
    assert (moved[~inside] == 255).all()
    edge = np.minimum(abs(old_x - old_x.round()), abs(old_y - old_y.round())) < 1e-6
    sure = inside & ~edge
    assert (moved[sure] == mask[old_y[sure].astype(int), old_x[sure].astype(int)]).all()


def test_nearest_by_a_whole_factor_repeats_and_goes_back() -> None:
    mask = np.arange(12).reshape(3, 4)
    large = nearest(mask, (9, 12))
    assert np.array_equal(large, mask.repeat(3, axis=0).repeat(3, axis=1))
    assert np.array_equal(nearest(large, (3, 4)), mask)


@pytest.mark.parametrize(
    ("steps", "picture"),
    [
        ([], "input"),
        ([{"op": "grey"}], "input"),
        ([{"op": "resize", "size": [32, 48], "filter": "bilinear"}], "stretched"),
        ([{"op": "letterbox", "size": [32, 48]}], "letterbox_centre"),
        ([{"op": "letterbox", "size": [32, 48], "place": "corner"}], "letterbox_corner"),
        ([{"op": "resize", "shorter": 32, "filter": "bilinear"}], None),
        ([{"op": "center_crop", "size": [32, 48]}], None),
    ],
)
def test_boxes_in_pixels_of_the_picture_are_where_the_steps_put_them(
    steps: Steps, picture: str | None
) -> None:
    """`in_input`, which training uses, and `move_of`, which reading uses, say the same."""
    assert picture_of(steps) == picture
    if picture is None:
        return
    sizes = np.array([[32, 48]] if picture == "input" else [[40, 90], [40, 90], [77, 31]])
    task = BoxesSettings(input=(32, 48), scores=Part(count=1), picture=picture)
    rng = np.random.default_rng(0)
    sample = np.sort(rng.integers(0, len(sizes), 9))
    boxes = rng.uniform(0, 30, (9, 4))
    moved = in_input(boxes, sample, sizes, task)
    for i, box in enumerate(boxes):
        expected = move_of(steps, *sizes[sample[i]].tolist()).boxes(box[np.newaxis])[0]
        assert moved[i] == pytest.approx(expected, abs=1e-9)


def test_boxes_are_cut_at_edges_and_dropped_when_little_is_left() -> None:
    boxes = np.array(
        [[2, 2, 8, 8], [-5, 0, 5, 10], [-9, 0, 1, 10], [20, 0, 30, 5], [9.5, 0, 29, 10]], float
    )
    inner, kept = cut(boxes, (10, 10))
    assert kept.tolist() == [True, True, False, False, False]
    assert inner[:2].tolist() == [[2, 2, 8, 8], [0, 0, 5, 10]]
