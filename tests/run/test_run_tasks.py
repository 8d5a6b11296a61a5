"""Whole runs of other tasks than classes: pruned, taught, int8 on both runtimes, judged."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.device_runner.task import get_task
from edgeticket.pipeline.errors import RecipeError
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import read_recipe
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.run.sensitivity import measure_sensitivity

CODE = """
import numpy as np
import torch
from torch import nn


class UNet(nn.Module):
    def __init__(self, width, classes):
        super().__init__()

        def block(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

        self.enter, self.deep, self.pool = block(1, width), block(width, 2 * width), nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.leave, self.head = block(2 * width, width), nn.Conv2d(width, classes, 1)

    def forward(self, x):
        a = self.enter(x)
        return self.head(self.leave(torch.cat([a, self.up(self.deep(self.pool(a)))], 1)))


def unet(width=8, classes=3):
    return UNet(width, classes)


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x, scale):
        return self.head(self.gru(x)[0][:, -1]) * scale


def forecast():
    return Forecast()


def squares(count=60, side=12):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 40, (count, side, side, 1)).astype(np.uint8)
    mask = np.zeros((count, side, side), np.uint8)
    for picture, right in zip(pictures, mask):
        for kind in (1, 2):
            row, column = rng.integers(0, side - 5, 2)
            picture[row : row + 5, column : column + 5] = 90 * kind
            right[row : row + 5, column : column + 5] = kind
    return {"inputs": pictures, "mask": mask}


def waves(count=120):
    rng = np.random.default_rng(0)
    phase, step = rng.uniform(0, 6, (count, 1)), rng.uniform(0.2, 0.5, (count, 1))
    scale = rng.uniform(0.5, 2, (count, 1)).astype(np.float32)
    wave = np.sin(step * np.arange(12) + phase)
    x = np.stack([wave[:, :8], np.cos(step * np.arange(8) + phase)], 2).astype(np.float32)
    return {"x": x, "scale": scale, "future": (scale * wave[:, 8:]).astype(np.float32)}


def squared(outputs, targets):
    return ((outputs - targets["future"]) ** 2).mean()
"""

MASKS = """
name: squares
data: {factory: "MODULE:squares", validation: 12, calibration: 12, test: 12}
task: masks
model: {import: "MODULE:unet"}
train: {epochs: 4, batch_size: 12, optimizer: adam, lr: 0.01}
compress:
  - {method: channel_magnitude, budget: {macs: 0.7}, round_to: 2}
  - method: finetune
    train:
      {epochs: 2, batch_size: 12, optimizer: adam, lr: 0.005, loss: cross_entropy_dice,
       distil: {soft_targets: {}, outputs: {weight: 0.1}}}
  - {method: qat, train: {epochs: 2, batch_size: 12, optimizer: adam, lr: 0.001}}
bench: {min_seconds: 0, min_queries: 3}
"""

SERIES = """
name: waves
data: {factory: "MODULE:waves", validation: 20, calibration: 20, test: 20}
task: series
model: {import: "MODULE:forecast"}
train: {epochs: 10, batch_size: 20, optimizer: adam, lr: 0.02, loss: "MODULE:squared"}
compress:
  - {method: magnitude, sparsity: 0.5}
  - {method: qat, train: {epochs: 2, batch_size: 20, optimizer: adam, lr: 0.002}}
bench: {min_seconds: 0, min_queries: 3}
"""


def recipe_in(folder: Path, text: str, module: str, *overrides: str) -> Recipe:
    (folder / f"{module}.py").write_text(CODE)
    file = folder / "recipe.yaml"
    file.write_text(text.replace("MODULE", module))
    return read_recipe(file, overrides)


@pytest.mark.parametrize(
    ("text", "module", "headline"),
    [(MASKS, "masks_of_a_run", "miou"), (SERIES, "series_of_a_run", "mae")],
)
def test_a_task_goes_from_recipe_to_reports(
    tmp_path: Path, text: str, module: str, headline: str
) -> None:
    recipe = recipe_in(tmp_path, text, module)
    common = {"recipe_folder": tmp_path, "data_folder": tmp_path, "progress": QUIET}
    out = tmp_path / "runs"
    summary = run(recipe, out=out, remeasure=False, **common)
    folder = out / recipe.name
    assert summary.measure == headline
    reports = {r.artifact.id: r for r in map(read_report, (folder / "reports").glob("*.json"))}
    assert len(reports) == 6
    with open_bundle(folder / "bundle") as bundle:
        manifest = bundle.manifest
    assert recipe.task is not None
    assert manifest.task == recipe.task.task
    # The device counts as the host did: the same code on the same outputs, but for their last bits.
    for name in ("dense", "ticket"):
        told = manifest.networks[name].scores
        assert list(told) == [
            m.name
            for m in get_task(recipe.task.name).metrics(
                get_task(recipe.task.name).settings.from_json(dict(manifest.task.settings))
            )
        ]
        for runtime in ("onnx", "tflite"):
            score = reports[f"{name}-{runtime}-fp32"].accuracy.score
            assert score == pytest.approx(told[headline], abs=1e-3)
    ints = [r for r in reports.values() if "int8" in r.artifact.id]
    assert len({r.accuracy.outputs_sha256 for r in ints}) == 1  # both runtimes give the same codes
    if text == SERIES:  # of recurrent layers too, and through training with rounding
        tensors = load_file(folder / "reference/int8/weights.safetensors")
        matrices = [tensor for name, tensor in tensors.items() if "weight" in name]
        zeros = sum(int((matrix == 0).sum()) for matrix in matrices)
        assert zeros == sum(matrix.numel() for matrix in matrices) // 2
    for entry in manifest.provenance["steps"]:
        assert isinstance(entry[f"validation_{headline}"], float)
    last = manifest.provenance["steps"][-1]
    assert 0 <= last["validation_agreement"] <= 1
    assert f"validation_{headline}_int8" in last


def test_layers_are_judged_by_the_task(tmp_path: Path) -> None:
    recipe = recipe_in(
        tmp_path, MASKS, "masks_by_layer", "train.epochs=1", "compress=[{method: ptq}]"
    )
    told = measure_sensitivity(
        recipe, recipe_folder=tmp_path, out=tmp_path, data_folder=tmp_path, progress=QUIET
    )
    assert told.measure.name == "miou"
    ratios = [loss.sqnr_db for loss in told.losses]
    assert ratios == sorted(ratios, key=lambda ratio: float("inf") if ratio is None else ratio)
    assert all(loss.divergence is None for loss in told.losses)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model.args={classes: 2}"], "task: masks: masks have classes up to 2, the output has 2"),
        (["task={name: masks, enlarge: 2}"], "gives masks of 24x24 pixels, the targets' are 12x12"),
        (["task={name: masks, output: 1}"], "reads output 1, the network has 1"),
        (["task=numbers", "compress.1.train.loss=null"], "no 'values'"),
        (["train.augment=speech"], "is not for images"),
        (["train.label_smoothing=0.1"], "train.label_smoothing is for classes, and the task is m"),
        (["data.args={side: 13}"], "13"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(
    tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    # A module of its own: Python imports each name once.
    module = f"masks_that_do_not_fit_{len(sentence)}"
    recipe = recipe_in(tmp_path, MASKS, module, *overrides)
    with pytest.raises(InputError, match=sentence) as caught:
        Job.open(
            recipe,
            recipe_folder=tmp_path,
            store=tmp_path / "store",
            data_folder=tmp_path,
            progress=QUIET,
        )
    assert "\n" not in str(caught.value)


def test_pixels_are_not_said_of_numbers(tmp_path: Path) -> None:
    """Numbers go in as they are: a mean that nobody takes off would be a silent fault."""
    overrides = ("model.pixel_mean=[3.0]", "model.pixel_std=[2.0]")
    recipe = recipe_in(tmp_path, SERIES, "series_with_pixels", *overrides)
    with pytest.raises(InputError, match=r"model\.pixel_mean and model\.pixel_std are for images"):
        Job.open(
            recipe,
            recipe_folder=tmp_path,
            store=tmp_path / "store",
            data_folder=tmp_path,
            progress=QUIET,
        )


def test_losses_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no loss 'triplet' for task masks"):
        recipe_in(tmp_path, MASKS, "masks_with_another_loss", "train.loss=triplet")


def test_random_inputs_agree_by_the_task(tmp_path: Path) -> None:
    recipe = recipe_in(
        tmp_path,
        MASKS,
        "masks_of_noise",
        "data={random: 8, takes: [1, 12, 12]}",
        "train=null",
        "model.trained=true",
        "compress=[{method: ptq}]",
    )
    common = {"recipe_folder": tmp_path, "data_folder": tmp_path, "progress": QUIET}
    run(recipe, out=tmp_path, remeasure=False, **common)
    with open_bundle(tmp_path / "squares" / "bundle") as bundle:
        assert bundle.manifest.task.name == "masks"
        assert bundle.manifest.samples.targets is None
