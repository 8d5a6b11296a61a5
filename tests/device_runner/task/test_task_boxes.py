"""From a detector's outputs to boxes: each coding by its formula, pixels, targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import example

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.task.boxes.decode import make_grid
from edgeticket.device_runner.task.boxes.detections import detect
from edgeticket.device_runner.task.boxes.settings import BoxesSettings

SEEDS = st.integers(0, 2**32 - 1)
BOXES = TASKS["boxes"]
SMALL = {"input": [32, 48], "threshold": 0.0, "nms_iou": None, "cut": False}
FOUR = {"count": 4}


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def read(document: dict[str, Any]) -> BoxesSettings:
    return BoxesSettings.from_json({**SMALL, **document})


def in_order(outputs: list[Any], kind: BoxesSettings) -> Any:
    """Boxes of one picture by candidate: scores must fall from one candidate to the next."""
    (seen,) = detect(outputs, kind)
    assert (np.diff(seen.score) < 0).all()
    return seen.box


def falling(count: int) -> Any:
    return np.linspace(0.9, 0.1, count).reshape(1, count, 1)


def close(boxes: Any, wanted: Any) -> None:
    np.testing.assert_allclose(boxes, np.asarray(wanted, float), atol=1e-9)


@pytest.mark.parametrize(
    ("form", "numbers"),
    [("xyxy", [4, 8, 10, 28]), ("xywh", [4, 8, 6, 20]), ("cxcywh", [7, 18, 6, 20])],
)
def test_boxes_as_they_are(form: str, numbers: list[float]) -> None:
    outputs = [np.array([[numbers]], float), np.full((1, 1, 1), 0.5)]
    document = {"boxes": FOUR, "scores": {"count": 1, "outputs": [1]}}
    close(in_order(outputs, read({**document, "decode": {"kind": "direct", "form": form}})),
          [[4, 8, 10, 28]])  # fmt: skip
    parts = [outputs[0] / [48, 32, 48, 32], outputs[1]]
    decode = {"kind": "direct", "form": form, "normalized": True}
    close(in_order(parts, read({**document, "decode": decode})), [[4, 8, 10, 28]])


def levels(rng: Any, per_cell: int, numbers: int) -> list[Any]:
    """Maps [1, 4, 6, ...] and [1, 2, 3, ...] of an input of 32 x 48 with strides 8 and 16."""
    return [rng.normal(size=(1, h, w, per_cell * numbers)) for h, w in ((4, 6), (2, 3))]


CODINGS = ("ssd", "linear", "corners", "yolov3", "yolov5")


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_anchors_are_moved_by_their_formula(coding: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [[[4, 6], [8, 8]], [[16, 12], [20, 30]]]
    variances = [0.1, 0.12, 0.2, 0.25]
    maps = levels(rng, 2, 5)
    count = (24 + 6) * 2
    wanted, at = [], 0
    for level, (stride, (h, w)) in enumerate(((8, (4, 6)), (16, (2, 3)))):
        for y in range(h):
            for x in range(w):
                for a in range(2):
                    numbers = maps[level][0, y, x].reshape(2, 5)[a]
                    numbers[4] = 0.9 - at / 100
                    at += 1
                    t, (aw, ah) = numbers[:4], sizes[level][a]
                    cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                    v = np.array(variances)
                    if coding == "ssd":
                        cx, cy = cx + t[0] * v[0] * aw, cy + t[1] * v[1] * ah
                        aw, ah = aw * math.exp(t[2] * v[2]), ah * math.exp(t[3] * v[3])
                    elif coding == "linear":
                        cx, cy = cx + t[0] * v[0] * aw, cy + t[1] * v[1] * ah
                        aw, ah = aw * t[2] * v[2], ah * t[3] * v[3]
                    elif coding == "yolov3":
                        cx, cy = (x + sigmoid(t[0])) * stride, (y + sigmoid(t[1])) * stride
                        aw, ah = aw * math.exp(t[2]), ah * math.exp(t[3])
                    elif coding == "yolov5":
                        cx = (x - 0.5 + 2 * sigmoid(t[0])) * stride
                        cy = (y - 0.5 + 2 * sigmoid(t[1])) * stride
                        aw, ah = aw * (2 * sigmoid(t[2])) ** 2, ah * (2 * sigmoid(t[3])) ** 2
                    box = np.array([cx - aw / 2, cy - ah / 2, cx + aw / 2, cy + ah / 2])
                    if coding == "corners":
                        box += t * v * [aw, ah, aw, ah]
                    wanted.append(box)
    assert at == count
    decode = {"kind": "anchors", "coding": coding, "strides": [8, 16], "sizes": sizes,
              "variances": variances}  # fmt: skip
    part = {"outputs": [0, 1]}
    document = {
        "boxes": {**part, "count": 4},
        "scores": {**part, "count": 1, "first": 4},
        "per_cell": 2,
        "decode": decode,
    }
    close(in_order(maps, read(document)), wanted)
    # The same with numbers first.
    first = [np.moveaxis(m, 3, 1) for m in maps]
    close(in_order(first, read({**document, "layout": "first"})), wanted)
    # Anchors before cells, as five dimensions or a list of candidates.
    fifth = [np.moveaxis(m.reshape(*m.shape[:3], 2, 5), 3, 1) for m in maps]
    by_anchor = {**document, "per_cell": 1, "decode": {**decode, "order": "anchor"}}
    listed = [m.reshape(1, -1, 5) for m in fifth]
    for outputs in (fifth, listed):
        (seen,) = detect(outputs, read(by_anchor))
        close(seen.box, wanted)


def test_listed_anchors_and_those_that_are_cut() -> None:
    numbers, scores = np.zeros((1, 2, 4)), falling(2)
    document = {"boxes": FOUR, "scores": {"count": 1, "outputs": [1]}}
    listed = [[10, 8, 4, 6], [40, 30, 100, 20]]
    decode = {"kind": "anchors", "listed": listed}
    close(in_order([numbers, scores], read({**document, "decode": decode})),
          [[8, 5, 12, 11], [-10, 20, 90, 40]])  # fmt: skip
    close(in_order([numbers, scores], read({**document, "decode": {**decode, "cut": True}})),
          [[8, 5, 12, 11], [16, 20, 64, 40]])  # fmt: skip


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, bins=st.sampled_from([0, 1, 6]), unit=st.sampled_from(["stride", "pixel"]))
def test_distances_from_centres(seed: int, bins: int, unit: str) -> None:
    rng = np.random.default_rng(seed)
    numbers = 4 * max(bins, 1)
    maps = levels(rng, 1, numbers + 1)
    wanted, at = [], 0
    for m, stride in zip(maps, (8, 16), strict=True):
        for y in range(m.shape[1]):
            for x in range(m.shape[2]):
                m[0, y, x, numbers] = 0.9 - at / 100
                at += 1
                raw = m[0, y, x, :numbers].reshape(4, -1)
                if bins:
                    share = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
                    raw = (share * np.arange(bins)).sum(axis=1, keepdims=True)
                d = raw[:, 0] * (stride if unit == "stride" else 1)
                cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                wanted.append([cx - d[0], cy - d[1], cx + d[2], cy + d[3]])
    part = {"outputs": [0, 1]}
    document = {
        "boxes": {**part, "count": numbers},
        "scores": {**part, "count": 1, "first": numbers},
        "decode": {"kind": "centres", "strides": [8, 16], "bins": bins, "unit": unit},
    }
    close(in_order(maps, read(document)), wanted)


def test_yolox_sizes_and_cells() -> None:
    numbers = np.array([[[0.25, 0.5, math.log(2), math.log(3)]] * 24])
    outputs = [numbers, falling(24)]
    document = {"boxes": FOUR, "scores": {"count": 1, "outputs": [1]}}
    decode = {"kind": "centres", "coding": "yolox", "strides": [8], "offset": 0}
    boxes = in_order(outputs, read({**document, "decode": decode}))
    # The cell of row 1, column 2 is the eighth.
    close(boxes[8], [18 - 8, 12 - 12, 18 + 8, 12 + 12])
    cells = {
        "scores": {"count": 1},
        "decode": {"kind": "centres", "coding": "cell", "strides": [8]},
    }
    close(in_order([outputs[1]], read(cells))[8], [16, 8, 24, 16])


def test_huge_numbers_stay_finite() -> None:
    numbers = np.full((1, 24, 4), 3e38, np.float32)
    document = {
        "boxes": FOUR,
        "scores": {"count": 1, "outputs": [1]},
        "decode": {"kind": "centres", "coding": "yolox", "strides": [8]},
        "cut": True,
    }
    boxes = in_order([numbers, falling(24)], read(document))
    assert np.isfinite(boxes).all()
    assert ((boxes >= 0) & (boxes <= [48, 32, 48, 32])).all()


def direct(**others: Any) -> BoxesSettings:
    document = {"boxes": FOUR, "scores": {"count": 3, "outputs": [1]}, **others}
    return read(document)


ONE_BOX = np.array([[[0, 0, 10, 10], [20, 20, 30, 30]]], float)


def test_scores() -> None:
    raw = np.array([[[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]]])
    soft = np.exp(raw) / np.exp(raw).sum(axis=2, keepdims=True)
    (seen,) = detect([ONE_BOX, raw], direct(activation="softmax", background=0))
    # All classes of both, best first, counted without the background.
    wanted = sorted(((soft[0, i, c], c - 1, i) for i in (0, 1) for c in (1, 2)), reverse=True)
    assert seen.score.tolist() == pytest.approx([w[0] for w in wanted])
    assert seen.label.tolist() == [w[1] for w in wanted]
    assert [int(box[0] > 0) for box in seen.box] == [w[2] for w in wanted]
    (best,) = detect([ONE_BOX, raw], direct(activation="sigmoid", labels="best", threshold=0.9))
    assert best.label.tolist() == [1]
    objectness = np.array([[[-2.0], [1.0]]])
    (both,) = detect(
        [ONE_BOX, raw, objectness],
        direct(activation="sigmoid", labels="best", objectness={"count": 1, "outputs": [2]}),
    )
    assert both.score.tolist() == pytest.approx([sigmoid(3) * sigmoid(1), sigmoid(2) * sigmoid(-2)])
    (few,) = detect([ONE_BOX, raw], direct(activation="sigmoid", candidates=2))
    assert few.score.tolist() == pytest.approx([sigmoid(3), sigmoid(2)])


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    scores = np.array([[[0.5, 0.25, 0.0], [0.5, 0.75, 0.0]]])
    (seen,) = detect([ONE_BOX, scores], direct(threshold=0.5))
    assert seen.score.tolist() == [0.75]


def test_overlapping_boxes_of_a_class_or_of_any() -> None:
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]]], float)
    scores = np.array([[[0.9, 0, 0], [0, 0.8, 0], [0.7, 0, 0]]])
    by_class = direct(nms_iou=0.5)
    assert detect([boxes, scores], by_class)[0].score.tolist() == [0.9, 0.8]
    across = direct(nms_iou=0.5, across_classes=True)
    assert detect([boxes, scores], across)[0].score.tolist() == [0.9]
    assert detect([boxes, scores], direct(limit=2))[0].score.tolist() == [0.9, 0.8]
    # 0.8 of overlap is not more than 0.8.
    assert len(detect([boxes, scores], direct(nms_iou=0.8))[0].score) == 3


@pytest.mark.parametrize("picture", ["stretched", "letterbox_centre", "letterbox_corner"])
def test_boxes_are_in_the_picture(picture: str) -> None:
    # A picture of 80 x 40 in an input of 48 x 32: by 0.6 to 48 x 24, or by 0.6 and 0.8.
    inside = {
        "stretched": [6, 8, 12, 16],
        "letterbox_centre": [6, 10, 12, 16],
        "letterbox_corner": [6, 6, 12, 12],
    }[picture]
    boxes, scores = np.array([[inside]], float), np.array([[[0.5, 0.0, 0.0]]])
    kind = direct(picture=picture)
    close(detect([boxes, scores], kind, np.array([[40, 80]]))[0].box, [[10, 10, 20, 20]])
    wide = np.array([[[-9, -9, 99, 99]]], float)
    cut = direct(picture=picture, cut=True)
    close(detect([wide, scores], cut, np.array([[40, 80]]))[0].box, [[0, 0, 80, 40]])


def test_right_answers_score_one() -> None:
    kind, _, targets = example("boxes", 3)
    outputs = np.zeros((6, 12, 7), np.float32)
    for i in range(6):
        mine = targets["sample"] == i
        count = int(mine.sum())
        keep = np.flatnonzero(mine)[: min(count, 12)]
        # 80 x 100 in 64 x 64: by 0.64 to 51 rows, 6 of filling above.
        box = targets["box"][keep] * [0.64, 51 / 80, 0.64, 51 / 80] + [0, 6, 0, 6]
        outputs[i, : len(keep), :4] = box
        outputs[i, np.arange(len(keep)), 4 + targets["label"][keep]] = 0.9
    few = np.concatenate([np.flatnonzero(targets["sample"] == i)[:12] for i in range(6)])
    for name in ("sample", "box", "label"):
        targets[name] = targets[name][few]
    alone = BoxesSettings.from_json(
        {"input": [64, 64], "boxes": FOUR, "scores": {"count": 3, "first": 4},
         "picture": "letterbox_centre", "nms_iou": None}
    )  # fmt: skip
    assert BOXES.score([outputs], targets, alone)["map"] == pytest.approx(1.0)
    assert BOXES.score([outputs], targets, kind)["map"] > 0.9  # type: ignore[operator]


def test_answers_agree_box_by_box() -> None:
    boxes = np.repeat(np.array([[[0, 0, 10, 10], [20, 20, 30, 30]]], float), 6, axis=0)
    scores = np.repeat(np.array([[[0.9, 0, 0], [0, 0.8, 0]]]), 6, axis=0)
    others, other_scores = boxes.copy(), scores.copy()
    others[1, 0] += 1.0  # an overlap of 0.68
    others[2, 0] += 5.0
    other_scores[3, 1] = [0.8, 0, 0]  # another class
    other_scores[4, 1] = [0, 0.2, 0]  # not above agree_score
    others[5], other_scores[5] = others[5, ::-1], other_scores[5, ::-1]
    agree = BOXES.agree([boxes, scores], [others, other_scores], direct())
    assert agree.tolist() == [True, True, False, False, False, True]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"box": (2, [0, 0, 5, 90])}, r"box 2 is \[.*\], outside of its picture of 100x80: cut it"),
        ({"box": (2, [5, 0, 4, 9])}, "box 2 is .*: its second corner must be right of and below"),
        ({"label": (1, 3)}, "box 1 is of class 3, the network has 3, counted from 0"),
        ({"label": (1, -1)}, "box 1 is of class -1"),
        ({"size": (0, [0, 5])}, "'size' has shape .*, or sides of 0"),
    ],
)
def test_boxes_that_cannot_be_right(change: Any, sentence: str) -> None:
    kind, outputs, targets = example("boxes", 0)
    for name, (i, value) in change.items():
        targets[name] = targets[name].copy()
        targets[name][i] = value
    with pytest.raises(InputError, match=sentence):
        BOXES.score(outputs, targets, kind)


def test_targets_of_another_shape() -> None:
    kind, outputs, targets = example("boxes", 0)
    for change, sentence in (
        ({"label": targets["label"][:3]}, r"'label' has shape \[3\], there are 24 boxes"),
        ({"box": targets["box"][:, :3]}, r"'box' has shape \[24, 3\]: give the corners"),
        ({"label": targets["label"] / 2}, "'label' is float64: it must be of whole numbers"),
    ):
        with pytest.raises(InputError, match=sentence):
            BOXES.score(outputs, {**targets, **change}, kind)
    del targets["size"]
    with pytest.raises(InputError, match="no 'size': give height and width of each picture"):
        BOXES.score(outputs, targets, kind)


@pytest.mark.parametrize(
    ("document", "shapes", "sentence"),
    [
        ({"decode": {"kind": "centres", "strides": [8]}}, [(1, 20, 4), (1, 20, 3)],
         "decode makes 24 centres of an input of 48x32, the outputs have 20 candidates"),
        ({}, [(1, 20, 4), (1, 19, 3)], "boxes are for 20 candidates, scores for 19"),
        ({}, [(1, 20, 3), (1, 20, 3)], r"output 0, \[1, 20, 3\], has 3 numbers for a candidate, 0"),
        ({"per_cell": 3}, [(1, 2, 2, 4), (1, 2, 2, 9)], "output 0 has 4 numbers for a cell"),
        ({"decode": {"kind": "centres", "strides": [8], "bins": 4}}, [(1, 24, 4), (1, 24, 3)],
         "boxes has 4 numbers, centres needs 16"),
        ({"objectness": {"count": 1, "outputs": [1]}, "scores": {"count": 1}},
         [(1, 20, 4), (1, 19, 3)], "objectness is for 19 candidates, scores for 20"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit(document: Any, shapes: Any, sentence: str) -> None:
    outputs = [np.zeros(shape) for shape in shapes]
    with pytest.raises(InputError, match=sentence):
        detect(outputs, direct(**document))


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"background": 3}, "background is score 3, there are 3, counted from 0"),
        ({"background": 0, "scores": {"count": 1}}, "background is the only score"),
        ({"objectness": {"count": 2}}, "objectness has 2 numbers, it must be one"),
        ({"decode": {"kind": "anchors"}}, "neither strides and sizes, nor listed"),
        ({"decode": {"kind": "anchors", "strides": [8]}}, "1 strides and 0 lists of sizes"),
        ({"decode": {"kind": "anchors", "listed": [[0, 0, 1, 1]], "strides": [8]}}, "as well as"),
        (
            {"decode": {"kind": "anchors", "listed": [[0, 0, 1, 1]], "coding": "yolov5"}},
            "from cells",
        ),
        ({"decode": {"strides": [8]}}, "the key 'kind' is missing"),
        (
            {"input": [16384, 16384], "decode": {"kind": "centres", "strides": [0.01]}},
            "strides make 2684354560000 candidates of an input of 16384x16384",
        ),
        ({"decode": {"kind": "centers"}}, "allowed: 'direct', 'anchors', 'centres'"),
        ({"decode": {"kind": "centres", "strides": []}}, "allowed: at least 1"),
    ],
)
def test_settings_that_contradict_one_another(document: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=rf"^here.*{sentence}"):
        BoxesSettings.from_json({"input": [8, 8], "scores": {"count": 3}, **document}, place="here")


def test_the_grid_of_a_face_detector() -> None:
    """Ultra-Light-Fast-Generic-Face-Detector of 320 x 240: 4,420 priors, in its order."""
    decode = {
        "kind": "anchors",
        "strides": [8, 16, 32, 64],
        "sizes": [
            [[10, 10], [16, 16], [24, 24]],
            [[32, 32], [48, 48]],
            [[64, 64], [96, 96]],
            [[128, 128], [192, 192], [256, 256]],
        ],
        "cut": True,
    }
    grid = make_grid(read({"input": [240, 320], "scores": {"count": 2}, "decode": decode}))
    assert grid is not None
    assert len(grid.x) == 4420
    assert (grid.x[4], grid.y[4], grid.width[4]) == (12, 4, 16)  # the second cell's second
    # Of the last cells: the middle of a row that lies beyond the picture is cut, as is a height.
    assert (grid.x[-1], grid.y[-1], grid.width[-1], grid.height[-1]) == (288, 224, 256, 240)
