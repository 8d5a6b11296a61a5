"""Every pass works for every task: its log speaks the task's metric, whatever goes in and out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeticket.models.imported import look_in
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import PASS_CONFIGS as CONFIGS
from edgeticket.pipeline.recipe import Recipe, check
from edgeticket.pipeline.run.candidate import Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass

CODE = """
import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    removable = True

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + torch.relu(self.conv(x))


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(Block(), Block())
        self.wide, self.head = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 2, 1)
        self.apart = nn.Linear(8, 1)

    def forward(self, x):
        maps = self.blocks(self.enter(x))
        mask = self.head(torch.relu(self.wide(maps)))
        return {"aside": self.apart(maps.mean((2, 3))), "mask": mask}


class Memory(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x, y):
        return self.head(self.gru(x)[0][:, -1]) + y


def parts():
    return Parts()


def memory():
    return Memory()


def pictures():
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    return {"inputs": inputs, "mask": (inputs[..., 0] > 128).astype(np.uint8)}


def series():
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 6, 2), (40, 3)))
    return {"x": x, "y": y, "values": y + x[:, -1, :1]}
"""

TRAIN = {"epochs": 2, "batch_size": 8, "optimizer": "adam", "lr": 0.01}
MASKS: dict[str, Any] = {
    "data": {"factory": "passes_of_tasks:pictures"},
    "task": {"name": "masks", "output": 1},
    "model": {"import": "passes_of_tasks:parts"},
}
NUMBERS: dict[str, Any] = {
    "data": {"factory": "passes_of_tasks:series"},
    "task": "numbers",
    "model": {"import": "passes_of_tasks:memory"},
}
TAUGHT = {**TRAIN, "distil": {"outputs": {"which": [1]}, "soft_targets": {"output": 1}}}
OF_CHANNELS: list[dict[str, Any]] = [
    {"method": "channel_magnitude", "budget": {"macs": 0.7}, "round_to": 2},
    {"method": "stochastic_gates", "budget": {"macs": 0.7}, "round_to": 2, "train": TRAIN},
    {"method": "channel_penalty", "budget": {"macs": 0.7}, "round_to": 2, "train": TRAIN},
    {"method": "residual_blocks", "budget": {"macs": 0.7}},
    {"method": "structure", "keep": {"wide": 4}, "bypass": ["blocks.1"]},
    {"method": "finetune", "train": TAUGHT},
]
OF_WEIGHTS: list[dict[str, Any]] = [
    {"method": "magnitude", "sparsity": 0.5, "train": TRAIN},
    {"method": "weight_penalty", "sparsity": 0.5, "train": TRAIN},
    {"method": "rewinding", "sparsity": 0.3, "share": 0.2, "train": TRAIN},
    {"method": "random_mask", "sparsity": 0.3, "share": 0.2, "train": TRAIN},
    {"method": "reinit", "sparsity": 0.3, "share": 0.2, "train": TRAIN},
    {"method": "edge_popup", "sparsity": 0.5, "train": TRAIN},
    {"method": "score_miner", "sparsity": 0.5, "train": TRAIN},
    {"method": "continuous_sparsification", "sparsity": 0.5, "train": TRAIN},
    {"method": "weight_gates", "sparsity": 0.5, "train": TRAIN},
    {"method": "qat", "train": {**TRAIN, "distil": {"outputs": {"loss": "l1"}}}},
    {"method": "ptq"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("passes")
    (where / "passes_of_tasks.py").write_text(CODE)
    look_in([where])
    return where


def open_job(folder: Path, start: dict[str, Any], step: dict[str, Any]) -> Job:
    last = [] if step["method"] in ("qat", "ptq") else [{"method": "ptq"}]
    document = {"name": "one", "train": TRAIN, "compress": [step, *last], **start}
    document = {**document, "data": {**start["data"], "validation": 8, "calibration": 8, "test": 8}}
    return Job.open(
        check(Recipe, document, place="test"),
        recipe_folder=folder,
        store=folder / "store",
        data_folder=folder,
        progress=QUIET,
    )


def test_every_pass_is_tried_below() -> None:
    assert {step["method"] for step in (*OF_CHANNELS, *OF_WEIGHTS)} == {
        config.method_name() for config in CONFIGS
    }


@pytest.mark.parametrize("step", OF_CHANNELS, ids=lambda step: step["method"])
def test_a_pass_takes_dictionaries_of_outputs_and_masks(folder: Path, step: dict[str, Any]) -> None:
    job = open_job(folder, MASKS, step)
    dense = dense_network(job)
    after = apply_pass(job, dense, 0)
    assert isinstance(after.log[-1]["validation_miou"], float)
    assert isinstance(after.log[-1]["validation_pixel_accuracy"], float)
    if step["method"] != "finetune":
        assert after.log[-1]["macs"] <= 0.7 * dense.log[-1]["macs"]


@pytest.mark.parametrize("step", OF_WEIGHTS, ids=lambda step: step["method"])
def test_a_pass_takes_several_inputs_and_recurrent_layers(
    folder: Path, step: dict[str, Any]
) -> None:
    job = open_job(folder, NUMBERS, step)
    dense = dense_network(job)
    after = apply_pass(job, dense, 0)
    assert np.isfinite(after.log[-1]["validation_mae"])
    if "sparsity" in step:
        assert after.mask is not None
        assert any("gru.weight_hh" in name for name in after.mask.tensors)
        assert 1 - after.mask.density == pytest.approx(step["sparsity"], abs=0.01)
    else:
        assert after.scales is not None
        assert 0 <= after.log[-1]["validation_agreement"] <= 1
