"""Learning boxes: the inverse of every coding, who finds what, and detectors that learn a toy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeticket.device_runner.manifest import Task as NamedTask
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.task.boxes.decode import make_boxes, make_grid
from edgeticket.device_runner.task.boxes.overlap import iou
from edgeticket.device_runner.task.boxes.settings import BoxesSettings
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task import task_of
from edgeticket.pipeline.task.boxes.assignment import IGNORED, NOTHING, assign
from edgeticket.pipeline.task.boxes.candidates import Places, decode, encode, places_of
from edgeticket.pipeline.task.boxes.overlap import giou, iou_of_all
from edgeticket.pipeline.task.learnt import targets_of
from edgeticket.pipeline.train import evaluate, train

SIZES = [[[9.0, 9.0], [14.0, 7.0]], [[20.0, 24.0]]]
DECODES = {
    "ltrb": {"kind": "centres", "coding": "ltrb", "strides": [8, 16]},
    "ltrb pixels": {"kind": "centres", "coding": "ltrb", "strides": [8, 16], "unit": "pixel"},
    "yolox": {"kind": "centres", "coding": "yolox", "strides": [8, 16], "offset": 0.0},
    "size": {"kind": "centres", "coding": "size", "strides": [8, 16]},
    **{
        coding: {"kind": "anchors", "coding": coding, "strides": [8, 16], "sizes": SIZES}
        for coding in ("ssd", "linear", "corners", "yolov3", "yolov5")
    },
}


def settings_of(decode: dict[str, object], **more: object) -> BoxesSettings:
    document = {
        "input": [48, 64],
        "scores": {"count": 3},
        "boxes": {"count": 4, "first": 3},
        "decode": decode,
        **more,
    }
    settings = TASKS["boxes"].settings.from_json(document)
    assert isinstance(settings, BoxesSettings)
    return settings


@pytest.mark.parametrize("name", DECODES)
@given(seed=st.integers(0, 10_000))
def test_what_is_encoded_decodes_to_the_same_boxes(name: str, seed: int) -> None:
    settings = settings_of(DECODES[name])
    places = places_of(settings)
    assert places is not None
    torch.manual_seed(seed)
    # Around the candidates, where every coding reaches.
    shift = (torch.rand(len(places.stride), 2) - 0.5) * 0.9 * places.stride[:, None]
    sides = places.boxes[:, 2:] * (0.3 + 1.5 * torch.rand(len(shift), 2))
    middle = places.boxes[:, :2] + shift
    boxes = torch.cat([middle - sides / 2, middle + sides / 2], 1)
    numbers = encode(boxes, places, settings)
    torch.testing.assert_close(decode(numbers, places, settings), boxes, atol=0.02, rtol=1e-3)


@pytest.mark.parametrize("name", [*DECODES, "bins", "cell"])
def test_torch_decodes_as_the_device_does(name: str) -> None:
    more = {
        "bins": {"kind": "centres", "coding": "ltrb", "strides": [8, 16], "bins": 8},
        "cell": {"kind": "centres", "coding": "cell", "strides": [8, 16]},
    }
    settings = settings_of({**DECODES, **more}[name])
    places, grid = places_of(settings), make_grid(settings)
    assert places is not None
    numbers = torch.randn(len(places.stride), 32 if name == "bins" else 4)
    wanted = make_boxes(numbers.double().numpy(), np.arange(len(numbers)), grid, settings)
    given_here = decode(numbers, places, settings).numpy()
    np.testing.assert_allclose(given_here, wanted, atol=1e-3, rtol=1e-4)


def test_overlaps_are_those_of_the_device_and_giou_knows_how_far_boxes_are_apart() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 20, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 20, (30, 2))], 1).astype(np.float32)
    a, b = torch.from_numpy(boxes[:15]), torch.from_numpy(boxes[15:])
    wanted = iou(boxes[:15].astype(np.float64), boxes[15:].astype(np.float64))
    np.testing.assert_allclose(iou_of_all(a, b).numpy(), wanted, atol=1e-5)
    one = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert giou(one, one).item() == pytest.approx(1)
    near, far = giou(one, one + 3), giou(one, one + 9)
    assert -1 < far.item() < near.item() < 0


@pytest.mark.parametrize("name", DECODES)
def test_every_box_is_found_by_somebody(name: str) -> None:
    settings = settings_of(DECODES[name])
    places = places_of(settings)
    assert places is not None
    boxes = torch.tensor(
        [[1.0, 1, 4, 4], [2, 2, 5, 5], [0, 0, 64, 48], [30, 20, 44, 34], [60, 44, 64, 48]]
    )
    owners = assign(places, boxes, torch.zeros(5, dtype=torch.bool), settings)
    assert owners.shape == places.stride.shape
    assert set(range(5)) <= set(owners.tolist())
    assert NOTHING in owners.tolist()
    crowded = assign(places, boxes, torch.tensor([False, False, True, False, False]), settings)
    assert 2 not in crowded.tolist()
    assert (crowded == IGNORED).sum() >= (owners == 2).sum()


def test_boxes_of_pictures_go_where_the_letterbox_puts_them() -> None:
    arrays = {
        "box": np.array([[0.0, 0, 100, 50], [10, 10, 20, 20]]),
        "sample": np.array([0, 1]),
        "size": np.array([[50, 100], [48, 64]]),
        "label": np.array([0, 0]),
    }

    def taught(picture: str) -> list[list[float]]:
        settings = to_json(settings_of(DECODES["ltrb"], picture=picture))
        targets = Targets(NamedTask("boxes", settings), arrays, 2)
        split = Split(np.zeros((2, 48, 64, 3), np.uint8), None, targets=targets)
        boxes: list[list[float]] = targets_of(split, torch.device("cpu"))(torch.arange(2))[
            "box"
        ].tolist()
        return boxes

    assert taught("letterbox_centre") == [[0, 8, 64, 40], [10, 10, 20, 20]]
    assert taught("stretched") == [[0, 0, 64, 48], [10, 10, 20, 20]]


def test_what_cannot_be_taught_says_why() -> None:
    refuse = task_of(toy(settings_of({"kind": "direct"}))).refuse
    assert "decode is direct" in str(refuse(()))
    softmax = settings_of(DECODES["ssd"], activation="softmax")
    assert "no score means that nothing is there" in str(task_of(toy(softmax)).refuse(()))
    sentence = task_of(toy(settings_of(DECODES["ltrb"], scores={"count": 1}))).misfit
    assert "has label 1, but there are scores for 1 classes" in str(
        sentence((), toy(settings_of(DECODES["ltrb"])))
    )


def toy(settings: BoxesSettings, count: int = 24) -> Split:
    """Bright and dark squares on grey, one or two in a picture."""
    rng = np.random.default_rng(0)
    height, width = settings.input
    pictures = np.full((count, height, width, 1), 120, np.uint8)
    sample, box, label = [], [], []
    for i in range(count):
        for which in range(int(rng.integers(1, 3))):
            side = int(rng.integers(8, 15))
            x = int(rng.integers(0, width // 2 - side)) + which * width // 2
            y = int(rng.integers(0, height - side))
            kind = int(rng.integers(0, 2))
            pictures[i, y : y + side, x : x + side] = 230 if kind else 10
            sample.append(i)
            box.append([x, y, x + side, y + side])
            label.append(kind)
    arrays = {
        "sample": np.array(sample, dtype=np.int64),
        "box": np.array(box, dtype=np.float32),
        "label": np.array(label, dtype=np.int64),
    }
    named = NamedTask("boxes", to_json(settings))
    return Split(pictures, None, targets=Targets(named, arrays, count))


class Detector(nn.Module):
    """Two levels of maps; a candidate has scores, perhaps objectness, and the numbers of a box."""

    def __init__(self, numbers: int, per_cell: tuple[int, ...]) -> None:
        super().__init__()
        self.numbers = numbers

        def stage(a: int, b: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()
            )

        self.stages = nn.Sequential(stage(1, 16), stage(16, 32), stage(32, 32))
        self.heads = nn.ModuleList(nn.Conv2d(32, n * numbers, 3, padding=1) for n in per_cell)
        self.down = nn.ModuleList(stage(32, 32) for _ in per_cell[1:])

    def forward(self, x: Tensor) -> Tensor:
        level, told = self.stages(x), []
        for i, head in enumerate(self.heads):
            if i:
                level = self.down[i - 1](level)
            maps = head(level).permute(0, 2, 3, 1)
            told.append(maps.reshape(len(x), -1, self.numbers))
        return torch.cat(told, 1)


@pytest.mark.parametrize(
    ("name", "loss", "more"),
    [
        ("ltrb", "giou", {"activation": "sigmoid", "scores": {"count": 2}}),
        ("yolox", "l1", {"activation": "sigmoid", "objectness": {"count": 1, "first": 7}}),
        ("ssd", "l1", {"activation": "softmax", "background": 0}),
        ("yolov5", "giou", {"activation": "sigmoid", "objectness": {"count": 1, "first": 7}}),
        ("bins", "giou", {"activation": "sigmoid", "scores": {"count": 2}}),
    ],
)
def test_a_detector_learns_its_toy(name: str, loss: str, more: dict[str, object]) -> None:
    torch.manual_seed(0)
    document = DECODES.get(name) or {**DECODES["ltrb"], "bins": 4}
    bins = 4 if name == "bins" else 1
    settings = settings_of(document, boxes={"count": 4 * bins, "first": 3}, **more)
    split = toy(settings)
    per_cell = (2, 1) if document["kind"] == "anchors" else (1, 1)
    module = Detector(4 + 4 * bins, per_cell)
    cfg = TrainConfig(
        epochs=60, batch_size=8, optimizer="adam", lr=0.01, loss=loss, weight_decay=0.0
    )
    steps = ({"op": "normalize", "mean": [120.0], "std": [60.0]},)
    train(module, split, cfg, preprocessing=steps, seed=0)
    after = evaluate(module, split, preprocessing=steps)
    assert float(str(after.scores["map50"])) > 0.8
    assert after.headline == "map"


def test_places_move_as_one() -> None:
    places = places_of(settings_of(DECODES["ssd"]))
    assert isinstance(places, Places)
    assert places.to(torch.device("cpu")).boxes.equal(places.boxes)


@pytest.mark.parametrize("name", ["ltrb", "ssd", "yolov5"])
def test_pictures_without_boxes_teach_that_nothing_is_there(name: str) -> None:
    more = (
        {"activation": "softmax", "background": 0} if name == "ssd" else {"activation": "sigmoid"}
    )
    settings = settings_of(DECODES[name], **more)
    places = places_of(settings)
    assert places is not None
    outputs = torch.zeros(2, len(places.stride), 7, requires_grad=True)
    nothing = {
        "sample": torch.zeros(0, dtype=torch.int64),
        "label": torch.zeros(0, dtype=torch.int64),
        "box": torch.zeros(0, 4),
    }
    split = toy(settings)
    value = task_of(split).loss(TrainConfig(), split)(outputs, nothing)
    value.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value)
    assert outputs.grad is not None
    assert outputs.grad[:, :, 3:].abs().sum() == 0
    slope = outputs.grad[:, :, :3].sum((0, 1))
    assert (slope[1:] > 0).all()  # scores of classes go down
