"""Distillation: its losses against independent arithmetic, and as part of a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from distil_fixtures import ALL, DATA, LARGE
from safetensors.torch import save_file
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split, Teacher, load_dataset
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.recipe import (
    Decoupled,
    Distil,
    Features,
    Recipe,
    SoftTargets,
    TeacherConfig,
    TrainConfig,
    check,
)
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.store import Store
from edgeticket.pipeline.train import evaluate, train


def trained(
    distil: Distil | None,
    teacher: Network | None,
    *,
    resume: Path | None = None,
    progress: Progress = QUIET,
    precision: str = "fp32",
) -> Network:
    student = Network.fresh("digits_cnn", {"width": 4}, seed=1)
    module = student.module()
    cfg = TrainConfig(epochs=3, batch_size=50, lr=0.05, distil=distil).model_copy(
        update={"precision": precision}
    )
    data = DATA.taught_by(Teacher(teacher, DATA.preprocessing)) if teacher else DATA
    train(
        module,
        data.train,
        cfg,
        preprocessing=DATA.preprocessing,
        seed=7,
        resume=resume,
        progress=progress,
    )
    return student.with_weights(module)


@pytest.mark.parametrize("distil", ALL.values(), ids=ALL)
def test_an_interrupted_lesson_ends_in_the_same_bits(distil: Distil, tmp_path: Path) -> None:
    before = LARGE.digest
    undisturbed = trained(distil, LARGE)
    assert LARGE.digest == before
    with pytest.raises(KeyboardInterrupt):
        trained(distil, LARGE, resume=tmp_path / "state.pt", progress=StopAfter(8))
    resumed = trained(distil, LARGE, resume=tmp_path / "state.pt")
    assert resumed.digest == undisturbed.digest
    assert (
        resumed.weights.keys() == Network.fresh("digits_cnn", {"width": 4}, seed=1).weights.keys()
    )
    assert resumed.digest != trained(None, None).digest
    other = Network.fresh("digits_cnn", {"width": 8}, seed=3)
    with pytest.raises(InputError, match="belongs to another run"):
        trained(distil, other, resume=tmp_path / "state.pt")


def test_bfloat16_is_close() -> None:
    exact, rounded = (trained(ALL["together"], LARGE, precision=p) for p in ("fp32", "bf16"))
    assert exact.digest != rounded.digest
    for name, value in rounded.weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, exact.weights[name], rtol=0.3, atol=0.08)


BRIEF: dict[str, Any] = {"epochs": 1, "batch_size": 50, "lr": 0.05}
RECIPE: dict[str, Any] = {
    "name": "taught",
    "data": {"name": "digits", "train": 300, "validation": 100, "calibration": 50, "test": 50},
    "model": {"arch": "digits_cnn", "args": {"width": 8}},
    "train": BRIEF,
    "compress": [
        {"method": "channel_magnitude", "budget": {"macs": 0.5}, "round_to": 1},
        {"method": "finetune", "train": BRIEF},
        {"method": "finetune", "train": BRIEF},
        {"method": "ptq"},
    ],
}


def recipe_with(teacher: object, *, position: int = 1) -> Recipe:
    distil = {"teacher": teacher, "soft_targets": {}}
    compress = [dict(step) for step in RECIPE["compress"]]
    compress[position] = {**compress[position], "train": {**BRIEF, "distil": distil}}
    return check(Recipe, {**RECIPE, "compress": compress}, place="test")


def carried_out(recipe: Recipe, folder: Path) -> list[Candidate]:
    data = load_dataset(recipe.data, seed=0, folder=Path())
    job = Job(recipe, data, Store(folder / "stages"), QUIET, (folder,))
    candidates = [dense_network(job)]
    for position in range(3):
        candidates.append(apply_pass(job, candidates[-1], position))
    return candidates


def test_the_teacher_is_the_step_that_is_named_and_decides_the_stage(tmp_path: Path) -> None:
    save_file(dict(LARGE.weights), tmp_path / "large.safetensors")
    imported = {"weights": "large.safetensors", "arch": "digits_cnn", "args": {"width": 8}}
    dense = carried_out(recipe_with("dense", position=2), tmp_path)
    pruned = carried_out(recipe_with("channel_magnitude", position=2), tmp_path)
    numbered = carried_out(recipe_with(0, position=2), tmp_path)
    other = carried_out(recipe_with(imported, position=2), tmp_path)
    seen = {"pixel_mean": [100.0], "pixel_std": [50.0]}
    dimmed = carried_out(recipe_with({**imported, **seen}, position=2), tmp_path)
    digests = {c[-1].digest for c in (dense, pruned, other, dimmed)}
    assert len(digests) == 4
    assert numbered[-1].network.digest == pruned[-1].network.digest
    assert dense[-1].log[-1]["teacher"]["validation_top1"] == dense[0].log[0]["validation_top1"]
    # Another teacher in the same file is another stage.
    again = Network.fresh("digits_cnn", {"width": 8}, seed=9)
    save_file(dict(again.weights), tmp_path / "large.safetensors")
    assert carried_out(recipe_with(imported, position=2), tmp_path)[-1].digest not in digests


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ("finetune", "compress.1.train.distil.teacher: finetune is no trained network before"),
        (1, "1 is no trained network before this one (known: dense, channel_magnitude)"),
        ({"weights": "x"}, "name either an earlier step, or weights and arch to import"),
        ({"step": "dense", "arch": "x"}, "name either an earlier step, or weights and arch"),
    ],
)
def test_a_teacher_that_is_not_there(teacher: object, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        recipe_with(teacher)


def test_layers_are_a_name_or_a_pair() -> None:
    given = {"layers": ["a", ["b", "c"]]}
    features = check(Features, given, place="test")
    assert features.layers == (("a", "a"), ("b", "c"))
    assert check(Features, features.model_dump(mode="json"), place="test") == features
    for layers in ([["a"]], [3], [["a", "b", "c"]], [None]):
        with pytest.raises(InputError, match=r"layers\.0: name a layer, or two"):
            check(Features, {"layers": layers}, place="test")
    with pytest.raises(InputError, match="layers: name at least one layer"):
        check(Features, {"layers": []}, place="test")


def test_an_imported_teacher_is_read_as_it_is_written() -> None:
    given = {"weights": "x", "arch": "resnet20", "args": {"width": 8}, "pixel_mean": [1.0, 2]}
    teacher = check(TeacherConfig, given, place="test")
    assert teacher.pixel_mean == (1.0, 2.0)
    assert check(TeacherConfig, teacher.model_dump(mode="json"), place="test") == teacher


def test_a_lesson_needs_a_loss() -> None:
    with pytest.raises(ValueError, match="give at least one of soft_targets"):
        Distil(teacher=TeacherConfig(step="dense"))


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(InputError, match="has 7 outputs, but the network that it teaches has 10"):
        trained(ALL["soft_targets"], Network.fresh("digits_cnn", {"num_classes": 7}, seed=2))


@pytest.mark.parametrize("distil", [SoftTargets(), Decoupled()], ids=["soft_targets", "dkd"])
def test_a_student_learns_from_its_teacher_alone(distil: SoftTargets | Decoupled) -> None:
    def taught(split: Split, distil: Distil | None, *, seed: int) -> Network:
        network = Network.fresh("lenet300", {}, seed=seed)
        module = network.module()
        cfg = TrainConfig(epochs=12, batch_size=25, optimizer="adam", lr=1e-3, distil=distil)
        train(module, split, cfg, preprocessing=DATA.preprocessing, seed=seed)
        return network.with_weights(module)

    def predictions(network: Network) -> npt.NDArray[np.int64]:
        seen = evaluate(network.module(), DATA.train, preprocessing=DATA.preprocessing)
        return seen.predictions

    teacher = taught(DATA.train, None, seed=1)
    useless = Split(
        DATA.train.inputs,
        np.zeros_like(DATA.train.labels),
        Teacher(teacher, DATA.preprocessing),
    )
    name = "dkd" if isinstance(distil, Decoupled) else "soft_targets"
    student = taught(useless, Distil(cross_entropy=0.0, **{name: distil}), seed=2)
    assert (predictions(student) == predictions(teacher)).mean() > 0.8
