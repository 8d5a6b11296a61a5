"""Distillation: its losses against independent arithmetic, and as part of a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from training_fixtures import StopAfter

from device_runner.errors import InputError
from models.network import Network
from pipeline.candidate import Candidate, Job
from pipeline.data import load_dataset
from pipeline.distil import Answers
from pipeline.distil.logits import SoftTargetLoss
from pipeline.passes import apply_pass, dense_network
from pipeline.progress import QUIET, Progress
from pipeline.recipe import DataConfig, Distil, Recipe, SoftTargets, Teacher, TrainConfig, check
from pipeline.store import Store
from pipeline.train import train

DATA = load_dataset(
    DataConfig(name="digits", train=300, validation=200, test=100), seed=0, folder=Path()
)
GENERATOR = torch.Generator().manual_seed(0)
STUDENT = torch.randn(6, 10, generator=GENERATOR, dtype=torch.float64)
TEACHER = torch.randn(6, 10, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 3, 9, 9, 1, 5])


def soft_targets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    loss = SoftTargetLoss(SoftTargets(temperature=temperature))
    return loss(Answers(student, {}), Answers(teacher, {}), LABELS)


def test_soft_targets_are_the_divergence_of_softened_probabilities() -> None:
    p, q = (torch.softmax(z / 3, 1) for z in (TEACHER, STUDENT))
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_targets(STUDENT, TEACHER, 3.0).double(), expected)


def test_hot_soft_targets_match_centred_logits() -> None:
    """For T → ∞ the loss is ‖z̃_student − z̃_teacher‖² / (2·classes) of centred logits (Hinton)."""
    apart = (STUDENT - STUDENT.mean(1, keepdim=True)) - (TEACHER - TEACHER.mean(1, keepdim=True))
    expected = apart.square().sum(1).mean() / (2 * 10)
    found = soft_targets(STUDENT, TEACHER, 100.0).double()
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


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
    train(
        module,
        DATA.train,
        cfg,
        preprocessing=DATA.preprocessing,
        seed=7,
        teacher=teacher,
        resume=resume,
        progress=progress,
    )
    return student.with_weights(module)


ALL = {"soft_targets": Distil(cross_entropy=0.1, soft_targets=SoftTargets(weight=0.9))}
LARGE = Network.fresh("digits_cnn", {"width": 8}, seed=2)


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


def test_a_perfect_student_has_nothing_to_learn() -> None:
    assert soft_targets(TEACHER, TEACHER, 4.0).abs() < 1e-6


def test_bfloat16_is_close() -> None:
    exact, rounded = (trained(ALL["soft_targets"], LARGE, precision=p) for p in ("fp32", "bf16"))
    assert exact.digest != rounded.digest
    for name, value in rounded.weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, exact.weights[name], rtol=0.3, atol=0.05)


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
    from safetensors.torch import save_file

    save_file(dict(LARGE.weights), tmp_path / "large.safetensors")
    imported = {"weights": "large.safetensors", "arch": "digits_cnn", "args": {"width": 8}}
    dense = carried_out(recipe_with("dense", position=2), tmp_path)
    pruned = carried_out(recipe_with("channel_magnitude", position=2), tmp_path)
    numbered = carried_out(recipe_with(0, position=2), tmp_path)
    other = carried_out(recipe_with(imported, position=2), tmp_path)
    digests = {c[-1].digest for c in (dense, pruned, other)}
    assert len(digests) == 3
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


def test_a_lesson_needs_a_loss() -> None:
    with pytest.raises(ValueError, match="give at least one of soft_targets"):
        Distil(teacher=Teacher(step="dense"))


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(InputError, match="has 7 outputs, but the network that it teaches 10"):
        trained(ALL["soft_targets"], Network.fresh("digits_cnn", {"num_classes": 7}, seed=2))
