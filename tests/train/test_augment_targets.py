"""What is right follows its picture through every change that a training makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_fixtures import whole_task
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.geometry import boxes_in_input
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.task.learnt import targets_of
from edgeticket.pipeline.train.augment import AUGMENTATIONS, Draw, draw
from edgeticket.pipeline.train.augment_targets import check_targets_move, move_targets
from edgeticket.pipeline.train.batches import batches_of, check_moves

MOVING = [name for name, how in AUGMENTATIONS.items() if how.reach or how.mirrors or how.zoom]
EXACT = [name for name in MOVING if not AUGMENTATIONS[name].zoom]  # by whole pixels
SEEDS = st.integers(0, 10_000)
SIZE = (20, 28)


def in_order(drawn: Draw) -> Draw:
    return replace(drawn, order=torch.arange(len(drawn.order)))


def move(task: Task, drawn: Draw, swap: Any = (), **targets: Any) -> dict[str, Tensor]:
    given = {name: torch.as_tensor(value) for name, value in targets.items()}
    return move_targets(given, drawn, task, SIZE, swap)


def white(boxes: Tensor) -> Tensor:
    """A box in each picture, uint8 [N, H, W, 3]."""
    pictures = torch.zeros(len(boxes), *SIZE, 3, dtype=torch.uint8)
    for picture, (x1, y1, x2, y2) in zip(pictures, boxes.int().tolist(), strict=True):
        picture[y1:y2, x1:x2] = 255
    return pictures


def some_boxes(count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, SIZE[1] - 8, count), rng.integers(0, SIZE[0] - 8, count)
    return torch.tensor(np.stack([x, y, x + 8, y + rng.integers(6, 9, count)], 1)).float()


@pytest.mark.parametrize("augment", MOVING)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_box_that_is_drawn_follows_its_picture(augment: str, seed: int) -> None:
    drawn, boxes = in_order(draw(augment, 6, seed=seed)), some_boxes(6, seed)
    pictures = drawn.apply(white(boxes))
    moved = move(whole_task("boxes", input=list(SIZE), scores={"count": 1}), drawn,
                 sample=torch.arange(6), box=boxes, label=torch.arange(6),
                 area=torch.full((6,), 7.0))  # fmt: skip
    slack = 0.0 if augment in EXACT else 1.1
    for sample, box in zip(moved["sample"].tolist(), moved["box"].tolist(), strict=True):
        places = np.argwhere(pictures[sample, ..., 0].numpy() > 127)
        (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
        assert box == pytest.approx([left, top, right, bottom], abs=slack + 1e-4)
    # What is dropped has left the picture but for a rest.
    for sample in set(range(6)) - set(moved["sample"].tolist()):
        assert (pictures[sample] > 127).sum() <= 0.35 * 3 * 64 * 2
    assert torch.equal(moved["label"], moved["sample"])


@pytest.mark.parametrize("augment", EXACT)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_masks_and_pictures_move_as_pixels_do(augment: str, seed: int) -> None:
    """The mask of the moved picture is the moved mask of the picture, pixel by pixel."""
    drawn = in_order(draw(augment, 5, seed=seed))
    rng = torch.Generator().manual_seed(seed)
    pictures = torch.randint(1, 256, (5, *SIZE, 3), generator=rng, dtype=torch.uint8)
    mask = (pictures[..., 0] > 127).long()
    moved = drawn.apply(pictures)
    after = move(whole_task("masks"), drawn, mask=mask)["mask"]
    inside = moved[..., 0] > 0
    assert torch.equal(after, torch.where(inside, (moved[..., 0] > 127).long(), 255))
    first = move(whole_task("images"), drawn, image=pictures.movedim(-1, 1).float())["image"]
    assert torch.equal(first, moved.movedim(-1, 1).float())
    last = move(whole_task("images", form="channels_last"), drawn, image=pictures)["image"]
    assert torch.equal(last, moved)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_masks_follow_what_is_enlarged(seed: int) -> None:
    drawn, boxes = in_order(draw("zoom_flip_light", 6, seed=seed)), some_boxes(6, seed)
    pictures = white(boxes)
    moved = drawn.apply(pictures)[..., 0]
    mask = move(whole_task("masks"), drawn, mask=(pictures[..., 0] > 0).long())["mask"]
    middle = moved.float().amax((1, 2), keepdim=True) / 2
    counted = mask != 255
    right = ((moved > middle) == (mask == 1)) | ~counted
    assert right.float().mean() > 0.93


def test_a_mask_may_have_another_size_than_the_picture() -> None:
    drawn = in_order(draw("flip", 8, seed=0))
    mask = torch.arange(8 * 5 * 7).reshape(8, 5, 7)
    after = move(whole_task("masks", ignore=-1), drawn, mask=mask)["mask"]
    for before, now, mirrored in zip(mask, after, drawn.mirror, strict=True):
        assert torch.equal(now, before.flip(1) if mirrored else before)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_mirror_twice_changes_nothing(seed: int) -> None:
    drawn = in_order(draw("flip", 6, seed=seed))
    boxes = some_boxes(6, seed)
    points = boxes.reshape(6, 2, 2)
    pictures = torch.randint(0, 256, (6, *SIZE, 3), dtype=torch.uint8)
    assert torch.equal(drawn.apply(drawn.apply(pictures)), pictures)
    once: dict[str, Any] = {"sample": torch.arange(6), "box": boxes, "label": torch.arange(6)}
    named: dict[str, Any] = {"points": points, "visible": torch.ones(6, 2).long()}
    masks: dict[str, Any] = {"mask": torch.randint(0, 3, (6, *SIZE))}
    for task, right, swap in (
        (whole_task("boxes", input=list(SIZE), scores={"count": 1}), once, ()),
        (whole_task("keypoints"), named, ((0, 1),)),
        (whole_task("masks"), masks, ()),
    ):
        moved = move(task, drawn, swap, **move(task, drawn, swap, **right))
        for name, value in right.items():
            assert torch.equal(moved[name], value), name


def test_points_follow_change_places_and_leave() -> None:
    task = whole_task("keypoints")
    points = torch.tensor([[[2.0, 3.0], [20.0, 9.0]]]).repeat(40, 1, 1)
    drawn = in_order(draw("crop_flip", 40, seed=1))
    plain, swapped = move(task, drawn, points=points), move(task, drawn, ((0, 1),), points=points)
    for i in range(40):
        x = 2.0 - (drawn.corner[i, 1] - 4)
        y = 3.0 - (drawn.corner[i, 0] - 4)
        x = SIZE[1] - x if drawn.mirror[i] else x
        seen = 0 <= x <= SIZE[1] and 0 <= y <= SIZE[0]
        assert bool(plain["visible"][i, 0]) == bool(seen)
        if seen:
            assert plain["points"][i, 0].tolist() == [float(x), float(y)]
        order = [1, 0] if drawn.mirror[i] else [0, 1]
        assert torch.equal(swapped["points"][i], plain["points"][i, order])
    assert 0 < (plain["visible"] == 0).sum() < 40
    hidden = move(task, drawn, points=points, visible=torch.zeros(40, 2))
    assert hidden["visible"].sum() == 0


def test_boxes_at_the_edge_are_cut_or_dropped() -> None:
    drawn = Draw(
        torch.arange(3), torch.tensor([[4, 8], [4, 8], [4, 4]]), torch.zeros(3) > 0, 4, None
    )
    task = whole_task("boxes", input=list(SIZE), scores={"count": 1})
    box = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 4.5, 8], [0.0, 0, 4, 8]])
    area = torch.tensor([60.0, 30, 30])
    moved = move(task, drawn, sample=torch.arange(3), box=box, label=torch.arange(3), area=area)
    assert moved["box"].tolist() == [[0, 0, 4, 8], [0, 0, 4, 8]]
    assert moved["sample"].tolist() == [0, 2]
    assert moved["area"].tolist() == [30, 30]


def test_draws_are_seeded_and_old_ones_stay() -> None:
    for augment in AUGMENTATIONS:
        first, second, other = (draw(augment, 50, seed=seed) for seed in (3, 3, 4))
        pictures = torch.randint(0, 256, (50, *SIZE, 3), dtype=torch.uint8)
        assert torch.equal(first.order, second.order)
        assert torch.equal(first.apply(pictures), second.apply(pictures))
        if augment != "none":
            assert not torch.equal(first.apply(pictures), other.apply(pictures))
    # As before there were others: the same generator, in the same order.
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(50, generator=generator)
    corner = torch.randint(0, 9, (50, 2), generator=generator)
    mirror = torch.rand(50, generator=generator) < 0.5
    for augment in ("crop_flip", "zoom_flip_light"):
        drawn = draw(augment, 50, seed=3)
        assert torch.equal(drawn.order, order)
    drawn = draw("crop_flip", 50, seed=3)
    assert torch.equal(drawn.corner, corner)
    assert torch.equal(drawn.mirror, mirror)


@pytest.mark.parametrize(
    ("name", "settings_", "augment", "words"),
    [
        ("images", {}, "zoom", "give one of none, flip, shift, crop_flip"),
        ("images", {}, "light", "other pixels"),
        ("anomaly", {"score": "error"}, "shift", "give flip or none"),
    ],
)
def test_changes_that_targets_cannot_follow(
    name: str, settings_: dict[str, Any], augment: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_targets_move(augment, whole_task(name, **settings_))
    check_targets_move("flip", whole_task(name, **settings_))
    check_targets_move("zoom_flip_light", whole_task("boxes", input=[9, 9], scores={"count": 1}))


def test_batches_have_boxes_in_pixels_of_the_input() -> None:
    """Judged in pixels of a picture of twice the size; learnt, and moved, in those of the input."""
    boxes = some_boxes(8, 0)
    task = whole_task("boxes", input=list(SIZE), scores={"count": 1}, picture="stretched")
    arrays = {
        "sample": np.arange(8),
        "box": 2 * boxes.numpy(),
        "label": np.arange(8),
        "size": np.tile([2 * SIZE[0], 2 * SIZE[1]], (8, 1)),
    }
    split = Split(white(boxes).numpy(), None, targets=Targets(task, arrays, 8))
    assert split.targets is not None
    assert boxes_in_input(boxes_in_input(split.targets)).arrays["box"].tolist() == boxes.tolist()
    check_moves("crop_flip", split)
    device = torch.device("cpu")
    batch = batches_of(split, targets_of(split, device), device)
    drawn = draw("crop_flip", 8, seed=5)
    pictures, targets = batch(drawn.take(slice(2, 7)))
    assert len(targets["box"]) >= 3
    for sample, box in zip(targets["sample"].tolist(), targets["box"].tolist(), strict=True):
        places = np.argwhere(pictures[sample, ..., 0].numpy() > 127)
        (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
        assert box == [left, top, right, bottom]
