"""Every task is learnt: training improves its headline, whichever direction is better."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task as NamedTask
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.data.tensors import Tensors, channels_last
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.recipe.task import LOSSES
from edgeticket.pipeline.task import LEARNT, task_of
from edgeticket.pipeline.task.embeddings import OF_ONE, arrange
from edgeticket.pipeline.task.shown import lost, metric_text
from edgeticket.pipeline.train import compare, evaluate, train

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((96, 8)).astype(np.float32)
PICTURES = RNG.uniform(0, 1, (48, 1, 12, 12)).astype(np.float32)
MIXED = RNG.standard_normal((8, 4)).astype(np.float32)


def split_of(
    name: str, inputs: Array, targets: Mapping[str, Array], settings: Mapping[str, Any]
) -> Split:
    whole = to_json(TASKS[name].settings.from_json(dict(settings)))
    stored = Tensors((channels_last(inputs),), ("x",))
    return Split(stored, None, targets=Targets(NamedTask(name, whole), targets, len(inputs)))


def perceptron(outputs: int, *, inputs: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def convolutions(outputs: int, *more: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, outputs, 3, padding=1),
        *more,
    )


def labels() -> tuple[nn.Module, Split]:
    right = (VECTORS @ MIXED > 0).astype(np.int64)
    right[0, 0] = -1
    split = split_of("labels", VECTORS, {"labels": right}, {"activation": "sigmoid"})
    return perceptron(4), split


def numbers() -> tuple[nn.Module, Split]:
    return perceptron(4), split_of("numbers", VECTORS, {"values": VECTORS @ MIXED}, {})


def series() -> tuple[nn.Module, Split]:
    split = split_of("series", VECTORS, {"future": (VECTORS @ MIXED)[:, :, None]}, {})
    return nn.Sequential(perceptron(4), nn.Unflatten(1, (4, 1))), split


def keypoints() -> tuple[nn.Module, Split]:
    points = (VECTORS @ MIXED).reshape(-1, 2, 2) * 10
    settings = {"factor": [10, 10], "length": "pixels", "threshold": 3}
    visible = np.ones((len(points), 2), np.int64)
    visible[::7, 1] = 0
    return perceptron(4), split_of(
        "keypoints", VECTORS, {"points": points, "visible": visible}, settings
    )


def heat_maps() -> tuple[nn.Module, Split]:
    cells = RNG.integers(2, 10, (48, 1, 2))
    pictures = np.zeros((48, 1, 12, 12), np.float32)
    pictures[np.arange(48), 0, cells[:, 0, 1], cells[:, 0, 0]] = 5
    settings = {"form": "heatmaps_first", "length": "pixels", "threshold": 1}
    points = cells.astype(np.float32)
    return convolutions(1), split_of("keypoints", pictures, {"points": points}, settings)


def masks() -> tuple[nn.Module, Split]:
    mask = np.digitize(PICTURES[:, 0], [0.3, 0.7]).astype(np.int64)
    mask[0, 0, 0] = 255
    return convolutions(3), split_of("masks", PICTURES, {"mask": mask}, {})


def one_mask() -> tuple[nn.Module, Split]:
    mask = (PICTURES[:, 0] > 0.6).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    settings = {"activation": "sigmoid", "enlarge": 2, "by": "bilinear"}
    return convolutions(1), split_of("masks", PICTURES, {"mask": mask}, settings)


def images() -> tuple[nn.Module, Split]:
    return convolutions(1), split_of("images", PICTURES, {"image": 1 - PICTURES}, {})


def embeddings() -> tuple[nn.Module, Split]:
    identity = np.arange(96) % 8
    inputs = 0.3 * VECTORS
    inputs[np.arange(96), identity] += 1.0
    return perceptron(8), split_of("embeddings", inputs, {"identity": identity}, {})


def rebuilt() -> tuple[nn.Module, Split]:
    anomalous = (np.arange(96) % 6 == 0).astype(np.int64)
    plane = (VECTORS[:, :2] @ MIXED[:2] @ MIXED.T).astype(np.float32)
    inputs = np.where(anomalous[:, None] == 1, 2 * VECTORS, plane).astype(np.float32)
    narrow = nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8))
    targets = {"anomalous": anomalous, "input": inputs}
    return narrow, split_of("anomaly", inputs, targets, {"score": "error"})


def scored() -> tuple[nn.Module, Split]:
    anomalous = (VECTORS[:, 0] > 0.8).astype(np.int64)
    return perceptron(1), split_of("anomaly", VECTORS, {"anomalous": anomalous}, {})


TOYS: dict[str, Callable[[], tuple[nn.Module, Split]]] = {
    "labels": labels,
    "numbers": numbers,
    "series": series,
    "keypoints": keypoints,
    "heat_maps": heat_maps,
    "masks": masks,
    "one_mask": one_mask,
    "images": images,
    "embeddings": embeddings,
    "anomaly": rebuilt,
    "scored": scored,
}
CASES = [
    ("labels", "bce", 0.9),
    ("labels", "focal", 0.9),
    ("numbers", "mse", 0.5),
    ("numbers", "l1", 0.5),
    ("numbers", "huber", 0.5),
    ("series", "mse", 0.5),
    ("keypoints", "mse", 0.7),
    ("keypoints", "huber", 0.7),
    ("heat_maps", "mse", 0.9),
    ("masks", "cross_entropy", 0.8),
    ("masks", "cross_entropy_dice", 0.8),
    ("masks", "dice", 0.7),
    ("one_mask", "cross_entropy", 0.5),
    ("images", "l1", 18.0),
    ("images", "charbonnier", 18.0),
    ("embeddings", "triplet", 0.9),
    ("embeddings", "contrastive", 0.9),
    ("anomaly", "reconstruction", 0.9),
    ("scored", "bce", 0.95),
]


@pytest.mark.parametrize(("toy", "loss", "wanted"), CASES)
def test_a_task_is_learnt(toy: str, loss: str, wanted: float) -> None:
    torch.manual_seed(0)
    module, split = TOYS[toy]()
    assert split.targets is not None
    before = evaluate(module, split, preprocessing=())
    cfg = TrainConfig(
        epochs=40, batch_size=24, optimizer="adam", lr=0.02, weight_decay=0.0, loss=loss
    )
    train(module, split, cfg, preprocessing=(), seed=0)
    after = evaluate(module, split, preprocessing=())
    metric = task_of(split).headline
    assert metric is not None
    assert (after.headline, next(iter(after.scores))) == (metric.name, metric.name)
    old, new = before.score, after.score
    assert isinstance(old, float)
    assert isinstance(new, float)
    assert metric.better(new, old)
    assert lost(metric, old, new) < 0
    assert metric.better(new, wanted)


def test_every_task_has_the_losses_that_recipes_know() -> None:
    assert {name: tuple(learnt.losses) for name, learnt in LEARNT.items()} == {
        name: tuple(LOSSES[name]) for name in LEARNT
    }
    assert set(LEARNT) == set(LOSSES) == set(TASKS) - {"classes", "nothing"}
    for learnt in LEARNT.values():
        settings = {"input": [8, 8], "scores": {"count": 1}} if learnt.name == "boxes" else {}
        chosen = learnt.default(TASKS[learnt.name].settings.from_json(settings))
        assert chosen in learnt.losses


def test_scores_do_not_depend_on_how_many_are_asked_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, split = masks()
    whole = evaluate(module, split, preprocessing=())
    assert whole.all_outputs == ()  # nothing large is kept
    monkeypatch.setattr("edgeticket.pipeline.train.evaluation.BATCH_PIXELS", 5 * 144)
    assert evaluate(module, split, preprocessing=()).scores == whole.scores


def test_two_networks_are_compared_in_one_go() -> None:
    module, split = masks()
    same = compare(module, module, split, preprocessing=())
    assert (same.agreement, same.sqnr_db) == (1.0, None)
    other = convolutions(3)
    apart = compare(other, module, split, preprocessing=())
    assert apart.agreement is not None
    assert apart.agreement < 1
    assert apart.sqnr_db is not None
    assert apart.second.scores == evaluate(module, split, preprocessing=()).scores


def test_ignored_and_unknown_targets_teach_nothing() -> None:
    _, split = masks()
    task = task_of(split)
    right = task.targets(split, torch.device("cpu"))(torch.arange(4))
    outputs = torch.randn(4, 3, 12, 12, requires_grad=True)
    right["mask"][:] = 255
    value = task.loss(TrainConfig(loss="cross_entropy_dice"), split)(outputs, right)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()
    unknown = {"labels": torch.full((2, 4), -1)}
    _, of_labels = labels()
    assert task_of(of_labels).loss(TrainConfig(), of_labels)(torch.randn(2, 4), unknown) == 0


def test_batches_of_embeddings_hold_several_of_one() -> None:
    _, split = embeddings()
    assert split.targets is not None
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    arranged = arrange(order, split, 24)
    assert sorted(arranged.tolist()) == list(range(len(split)))
    identity = split.targets.arrays["identity"][arranged.numpy()]
    for start in range(0, 96, OF_ONE):
        assert len(set(identity[start : start + OF_ONE])) == 1
    alone = split_of("embeddings", VECTORS, {"identity": np.arange(96)}, {})
    with pytest.raises(InputError, match="has an identity of its own"):
        arrange(order, alone, 24)


def test_outputs_that_cannot_be_learnt_are_refused() -> None:
    _, split = one_mask()
    plain = split_of("masks", PICTURES, {"mask": np.zeros((48, 12, 12), np.int64)}, {})
    outputs = (np.full((2, 1, 12, 12), 3.0),)
    assert "set activation: sigmoid" in str(task_of(plain).refuse(outputs))
    assert task_of(split).refuse(outputs) is None
    classes = split_of(
        "masks", PICTURES, {"mask": np.zeros((48, 12, 12), np.int64)}, {"form": "classes"}
    )
    assert "has no gradient" in str(task_of(classes).refuse(outputs))
    _, three = masks()
    sentence = str(task_of(three).misfit((np.zeros((2, 2, 12, 12)),), three))
    assert "masks have classes up to 2, the output has 2" in sentence


def test_a_target_that_is_not_there_is_unavailable_and_not_a_number() -> None:
    _, split = scored()
    assert split.targets is not None
    usual = split.take(np.flatnonzero(split.targets.arrays["anomalous"] == 0))
    judged = evaluate(perceptron(1), usual, preprocessing=())
    assert isinstance(judged.score, Unavailable)
    metric = task_of(usual).headline
    assert metric is not None
    assert metric_text(metric, judged.score).startswith("unavailable (")
    assert judged.logged()["validation_auc"] == {"unavailable": judged.score.reason}


class Two(nn.Module):
    """Two inputs, and a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"aside": y, "sum": self.first(x) + self.second(y)}


def test_several_inputs_and_outputs_are_trained() -> None:
    torch.manual_seed(0)
    y = RNG.standard_normal((96, 3)).astype(np.float32)
    targets = {"values": VECTORS @ MIXED + y @ MIXED[:3]}
    whole = to_json(TASKS["numbers"].settings.from_json({"output": 1}))
    stored = Tensors((VECTORS, y), ("x", "y"))
    split = Split(stored, None, targets=Targets(NamedTask("numbers", whole), targets, 96))
    module = Two()
    cfg = TrainConfig(epochs=60, batch_size=24, optimizer="adam", lr=0.05, weight_decay=0.0)
    train(module, split, cfg, preprocessing=(), seed=0)
    score = evaluate(module, split, preprocessing=()).score
    assert isinstance(score, float)
    assert score < 0.2
