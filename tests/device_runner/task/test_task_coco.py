"""Mean average precision: the numbers of pycocotools, on random and on hard cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import pycocotools_stats

from edgeticket.device_runner.task.boxes import coco, overlap, read_truths
from edgeticket.device_runner.task.boxes.coco import average_precisions
from edgeticket.device_runner.task.boxes.detections import Detections
from edgeticket.device_runner.task.boxes.overlap import iou, suppress
from edgeticket.device_runner.unavailable import Unavailable

CLASSES = 3


def case(seed: int, *, pictures: int, most: int, step: float) -> tuple[list[Detections], Any]:
    """Boxes near right ones, on a grid of ``step`` pixels, so that overlaps and scores tie."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for i in range(pictures):
        count = int(rng.integers(0, most + 1))
        corner = rng.uniform(0, 150, (count, 2))
        side = rng.choice([4.0, 20.0, 40.0, 120.0], (count, 1)) * rng.uniform(0.5, 1.5, (count, 2))
        box = np.round(np.concatenate([corner, corner + side], axis=1) / step) * step
        label = rng.integers(0, CLASSES - int(rng.integers(0, 2)), count)
        truths.append((np.full(count, i), box, label))
        near = np.repeat(np.arange(count), rng.integers(0, 4, count))
        moved = box[near] + rng.choice([0.0, step, 3.0, 8.0], (len(near), 4)) * rng.choice(
            [-1, 1], (len(near), 4)
        )
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        moved = np.round(moved / step) * step
        said = np.where(rng.uniform(size=len(near)) < 0.8, label[near], rng.integers(0, CLASSES))
        score = rng.uniform(size=len(near)).round(1 if step >= 1 else 6)
        order = np.argsort(-score, kind="stable")
        detections.append(Detections(moved[order], score[order], said[order].astype(np.int64)))
    sample, box, label = (np.concatenate(part) for part in zip(*truths, strict=True))
    return detections, {
        "sample": sample,
        "box": box,
        "label": label,
        "crowd": (rng.uniform(size=len(box)) < 0.2).astype(np.uint8),
        "area": (box[:, 2] - box[:, 0])
        * (box[:, 3] - box[:, 1])
        * rng.choice([1.0, 0.5], len(box)),
    }


def compare(detections: list[Detections], targets: Any) -> dict[str, Any]:
    metrics = average_precisions(detections, read_truths(targets, len(detections)))
    wanted = pycocotools_stats(detections, targets, CLASSES)
    assert metrics.keys() == wanted.keys()
    for name, value in wanted.items():
        if value == -1:
            assert isinstance(metrics[name], Unavailable), name
        else:
            assert metrics[name] == pytest.approx(value, abs=1e-9), name
    return metrics


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pictures=st.integers(1, 4),
    most=st.integers(0, 8),
    step=st.sampled_from([1.0, 4.0, 0.001]),
)
def test_the_numbers_are_those_of_pycocotools(
    seed: int, pictures: int, most: int, step: float
) -> None:
    compare(*case(seed, pictures=pictures, most=most, step=step))


def test_the_cases_are_hard() -> None:
    """Otherwise equality would say little."""
    values = [compare(*case(seed, pictures=3, most=8, step=4.0)) for seed in range(8)]
    maps = [v["map"] for v in values if not isinstance(v["map"], Unavailable)]
    assert 0.1 < float(np.mean(maps)) < 0.9
    few = [compare(*case(seed, pictures=1, most=3, step=4.0)) for seed in range(20)]
    assert any(isinstance(v["map_large"], Unavailable) for v in few)
    assert any(isinstance(v["map_large"], float) for v in few)


def boxes(*rows: tuple[float, ...]) -> Any:
    return np.asarray(rows, dtype=np.float64).reshape(-1, 4)


def answer(box: Any, score: Any, label: Any = None) -> Detections:
    label = np.zeros(len(box), np.int64) if label is None else np.asarray(label)
    return Detections(box, np.asarray(score, np.float64), label)


NONE = answer(boxes(), [])
SQUARE, NEAR, FAR = (10, 10, 50, 50), (10, 10, 50, 54), (100, 100, 140, 140)


def truth(box: Any, **others: Any) -> Any:
    count = len(box)
    empty = {"sample": np.zeros(count, int), "box": box, "label": np.zeros(count, int)}
    return {**empty, **{key: np.asarray(value) for key, value in others.items()}}


@pytest.mark.parametrize(
    ("detections", "targets", "wanted"),
    [
        ([NONE], truth(boxes(SQUARE)), 0.0),
        ([NONE], truth(boxes()), None),
        ([answer(boxes(SQUARE), [0.5])], truth(boxes()), None),
        ([answer(boxes(SQUARE), [0.5])], truth(boxes(SQUARE)), 1.0),
        # One right box is right once; the other is wrong, and better.
        ([answer(boxes(NEAR, SQUARE), [0.9, 0.8])], truth(boxes(SQUARE)), None),
        # The class is absent from the targets: what is said of it counts for nothing.
        ([answer(boxes(SQUARE, FAR), [0.9, 0.8], [0, 2])], truth(boxes(SQUARE)), 1.0),
        # The crowd takes any number of boxes, and is not missed.
        (
            [answer(boxes(SQUARE, FAR, FAR), [0.7, 0.9, 0.8])],
            truth(boxes(SQUARE, (90, 90, 200, 200)), crowd=[0, 1]),
            1.0,
        ),
        ([NONE], truth(boxes(SQUARE), crowd=[1]), None),
        # Equal scores: the first picture's boxes come first.
        ([answer(boxes(FAR), [0.5]), answer(boxes(SQUARE), [0.5])],
         truth(boxes(SQUARE), sample=[1]), 0.5),
        ([answer(boxes(SQUARE), [0.5]), answer(boxes(FAR), [0.5])],
         truth(boxes(SQUARE), sample=[0]), 1.0),
        # Outside of the picture, without area, and turned inside out.
        ([answer(boxes((-50, -50, -10, -10), SQUARE), [0.4, 0.3])], truth(boxes(SQUARE)), 0.5),
        ([answer(boxes((10, 10, 10, 50), SQUARE), [0.4, 0.3])], truth(boxes(SQUARE)), 0.5),
        ([answer(boxes(SQUARE), [0.4])], truth(boxes((10, 10, 10, 50), SQUARE)), None),
    ],
)  # fmt: skip
def test_hard_cases(detections: Any, targets: Any, wanted: float | None) -> None:
    metrics = compare(detections, targets)
    if wanted is not None:
        assert metrics["map"] == pytest.approx(wanted, abs=1e-9)


def test_more_than_a_hundred_boxes_of_a_class_in_a_picture_are_not_looked_at() -> None:
    wrong = boxes(*[FAR] * 100)
    detections = [answer(np.concatenate([wrong, boxes(SQUARE)]), np.linspace(0.9, 0.1, 101))]
    assert compare(detections, truth(boxes(SQUARE)))["map"] == 0.0


def test_the_work_for_ten_thousand_boxes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 600, (10_000, 2))
    box = np.concatenate([corner, corner + rng.uniform(1, 90, (10_000, 2))], axis=1)
    label = rng.integers(0, CLASSES, 10_000)
    score = np.sort(rng.uniform(size=10_000))[::-1]
    pairs = []

    def counted(a: Any, b: Any, *crowd: Any) -> Any:
        pairs.append(len(a) * len(b))
        return iou(a, b, *crowd)

    for module in (overlap, coco):
        monkeypatch.setattr(module, "iou", counted)
    kept = suppress(box, label, limit_iou=0.5, across_classes=False, limit=300)
    assert len(kept) == 300
    assert 10_000 < sum(pairs) <= 300 * 10_000
    pairs.clear()
    # All of them said, and all of them right: a hundred of a class and picture are looked at.
    metrics = average_precisions(
        [answer(box, score, label)], read_truths(truth(box, label=label), 1)
    )
    assert sum(pairs) == coco.MOST * 10_000
    assert metrics["recall"] == pytest.approx(300 / 10_000, rel=0.05)


@given(seed=st.integers(0, 2**32 - 1))
def test_overlap_is_that_of_pycocotools_bit_for_bit(seed: int) -> None:
    from pycocotools import mask

    rng = np.random.default_rng(seed)
    a, b = (
        np.concatenate([corner, corner + rng.uniform(0, 30, (9, 2)).round(1)], axis=1)
        for corner in rng.uniform(0, 30, (2, 9, 2)).round(1)
    )
    crowd = rng.integers(0, 2, 9)
    as_coco = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1) for x in (a, b)]
    wanted = mask.iou(*as_coco, crowd.tolist())
    np.testing.assert_array_equal(iou(a, b, crowd > 0), wanted)


def slow_suppression(box: Any, label: Any, limit_iou: float, across: bool) -> list[int]:
    kept: list[int] = []
    for i in range(len(box)):
        rivals = [k for k in kept if across or label[k] == label[i]]
        if all(iou(box[k : k + 1], box[i : i + 1])[0, 0] <= limit_iou for k in rivals):
            kept.append(i)
    return kept


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 30), across=st.booleans())
def test_suppression_keeps_what_overlaps_nothing_better(
    seed: int, limit: int, across: bool
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 12, (25, 2)).astype(float)
    box = np.concatenate([corner, corner + rng.integers(0, 9, (25, 2))], axis=1)
    label = rng.integers(0, 2, 25)
    wanted = slow_suppression(box, label, 0.4, across)[:limit]
    kept = suppress(box, label, limit_iou=0.4, across_classes=across, limit=limit)
    assert kept.tolist() == wanted
