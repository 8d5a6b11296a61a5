"""From a torchvision network and a folder of pictures to a compared bundle: one file, no code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from picture_fixtures import write_pictures
from typer.testing import CliRunner

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import look_in
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.inspect.network import inspect_network
from edgeticket.pipeline.network.file import new_network


def edgeticket(*args: object) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_init_and_run(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    write_pictures(tmp_path / "photos", per_class=24, side=32)
    recipe = tmp_path / "mine.yaml"
    edgeticket("init", "squeezenet1_1", tmp_path / "photos", "-o", recipe)
    folders = ("--data", tmp_path / "data", "--out", tmp_path / "runs")
    printed = edgeticket("run", recipe, *folders)
    assert "ticket" in printed
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    rows = {row["artifact"]: row for row in summary["rows"]}
    assert rows["ticket-tflite-int8"]["score"] > 0.9
    assert rows["ticket-tflite-int8"]["agreement"] > 0.9
    assert rows["ticket-tflite-int8"]["times_smaller"] > 3
    assert rows["ticket-onnx-fp32"]["macs"] < 0.65 * rows["dense-onnx-fp32"]["macs"]
    with open_bundle(tmp_path / "runs" / "mine" / "bundle") as bundle:
        assert bundle.manifest.labels == ("blue", "green", "red")
        assert [step["op"] for step in bundle.manifest.capture] == ["resize", "center_crop"]
        assert bundle.samples()[0].shape[1:] == (32, 32, 3)


def test_a_recipe_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        edgeticket("init", "squeezenet1_1", tmp_path, "-o", tmp_path / "mine.yaml")


def test_init_says_what_is_wrong(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", per_class=1)
    for model, folder, message in (
        ("squeezenet1_1", "photos", "too few to train and to test"),
        ("squeezenet1_1", ".", "photos/blue has no pictures|has no pictures|too few"),
        ("squeezenet", "photos", "too few"),
        ("torchvsion:squeezenet1_1", "photos", "too few"),
    ):
        with pytest.raises(InputError, match=message):
            edgeticket("init", model, tmp_path / folder, "-o", tmp_path / "mine.yaml")
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("arch", "method", "told"),
    [
        ("shufflenet_v2_x0_5", "residual_blocks", "no residual blocks"),
        ("mnasnet0_5", "residual_blocks", "no residual blocks"),
    ],
)
def test_inspect_says_what_is_possible(arch: str, method: str, told: str) -> None:
    network = new_network(f"torchvision:{arch}", {}, seed=0, takes=(3, 32, 32))
    found = inspect_network(network)
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    assert found.macs == sum(layer.macs for layer in found.layers)
    assert not found.passes[method].possible
    assert told in found.passes[method].told
    assert found.passes["magnitude"].possible
    assert found.passes["channel_magnitude"].possible
    assert found.staying[-1].told == "is an output of the network"
    assert not found.obstacles
    assert {use.kind for use in found.operators} >= {"Conv"}


def test_inspect_names_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "best_three.py").write_text(
        "from torch import nn\n"
        "class Best(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.topk(3).values\n"
        "def make():\n"
        "    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), Best())\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), *head)\n"
    )
    look_in((tmp_path,))
    found = inspect_network(new_network("import:best_three:make", {}, seed=0, takes=(3, 16, 16)))
    assert "(topk) orders numbers" in found.obstacles[-1]
    assert not found.passes["ptq"].possible
    assert found.passes["channel_magnitude"].possible
    assert not found.files["onnx-fp32"].possible
