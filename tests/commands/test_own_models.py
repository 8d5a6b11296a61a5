"""`init` and `bundle` with what people have: what works, and what says which command takes it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_fixtures import export_onnx
from picture_fixtures import write_pictures
from torch import nn
from typer.testing import CliRunner

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cli import main as device_runner
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.recipe import read_recipe

TFLITE = Path(__file__).parents[1] / "foreign" / "float.tflite"


def edgeticket(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def refused(*args: object) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "photos", per_class=12, side=32)
    return tmp_path / "photos"


def network_file(folder: Path, *, classes: int = 3, channels: int = 3, side: int = 32) -> Path:
    module = nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )
    file = folder / "own.onnx"
    file.write_bytes(export_onnx(module.eval(), torch.zeros(1, channels, side, side)))
    return file


@pytest.mark.parametrize("channels", [1, 3])
def test_init_of_an_onnx_file_runs_to_the_bundle(
    tmp_path: Path, photos: Path, channels: int
) -> None:
    file = network_file(tmp_path, channels=channels)
    told = edgeticket("init", file, photos, "-o", tmp_path / "new" / "mine.yaml")
    assert f"`edgeticket run {tmp_path}/new/mine.yaml`" in told
    recipe = read_recipe(tmp_path / "new" / "mine.yaml", [])
    assert [step.method for step in recipe.compress] == ["ptq"]
    edgeticket(
        *("run", tmp_path / "new" / "mine.yaml", "--out", tmp_path / "runs"),
        *("--data", tmp_path, "--set", "bench.min_seconds=0", "--set", "bench.min_queries=1"),
    )
    with open_bundle(tmp_path / "runs" / "mine" / "bundle") as bundle:
        assert bundle.samples()[0].shape[1:] == (32, 32, channels)


def map_file(folder: Path) -> Path:
    """A network that gives a map and a vector."""
    x = torch.zeros(1, 3, 16, 16)
    body = nn.Conv2d(3, 4, 3, padding=1)

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = body, nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = torch.relu(self.body(x))
            return features, self.head(features.mean((2, 3)))

    file = folder / "heads.onnx"
    file.write_bytes(export_onnx(Heads().eval(), x))
    return file


@pytest.mark.parametrize("on", ["noise", "pictures", "arrays"])
def test_init_of_a_network_that_tells_no_classes(tmp_path: Path, photos: Path, on: str) -> None:
    file, recipe = map_file(tmp_path), tmp_path / "mine.yaml"
    np.savez(tmp_path / "a.npz", x=np.ones((8, 3, 16, 16), np.float32))
    given = {"noise": (), "pictures": (photos,), "arrays": (tmp_path / "a.npz",)}[on]
    edgeticket("init", file, *given, "-o", recipe)
    made = read_recipe(recipe, [])
    assert (made.data.random is None) == (on != "noise")
    assert made.data.labels == (on != "pictures")
    edgeticket(
        *("run", recipe, "--out", tmp_path / "runs", "--data", tmp_path),
        *("--set", "bench.min_seconds=0", "--set", "bench.min_queries=1"),
    )
    with open_bundle(tmp_path / "runs" / "mine" / "bundle") as bundle:
        manifest = bundle.manifest
        (inputs,) = bundle.inputs()
    assert (manifest.task.name, len(manifest.outputs)) == ("nothing", 2)
    assert inputs.shape[1:] == (16, 16, 3)
    assert inputs.dtype == (np.uint8 if on == "pictures" else np.float32)


def test_init_says_what_does_not_fit_an_onnx_file(tmp_path: Path, photos: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    assert "tells 5 classes apart" in refused(
        "init", network_file(tmp_path, classes=5), photos, "-o", recipe
    )
    file = network_file(tmp_path)
    assert "leave out --weights" in refused(
        "init", file, photos, "-o", recipe, "--weights", "w.pth"
    )
    assert "--size 64" in refused("init", file, photos, "-o", recipe, "--size", "64")
    assert "cannot read" in refused("init", tmp_path / "no.onnx", photos, "-o", recipe)
    assert not recipe.exists()


def test_a_tflite_file_names_the_commands_that_take_it(tmp_path: Path, photos: Path) -> None:
    for name in ("m.tflite", "m.onnx"):
        file = tmp_path / name
        shutil.copyfile(TFLITE, file)
        told = refused("init", file, photos, "-o", tmp_path / "mine.yaml")
        assert f"`edgeticket bundle {file} --samples" in told
        assert "`edgeticket inspect" in told


def test_a_mistyped_network_is_told_the_near_ones(tmp_path: Path, photos: Path) -> None:
    told = refused("init", "mobilnet_v2", photos, "-o", tmp_path / "mine.yaml")
    assert "did you mean mobilenet_v2" in told
    assert len(told) < 400
    assert "did you mean torchvision:x" in refused(
        "init", "torchvsion:x", photos, "-o", tmp_path / "mine.yaml"
    )


def test_weights_are_tried_before_a_recipe_is_written(tmp_path: Path, photos: Path) -> None:
    recipe, weights = tmp_path / "mine.yaml", tmp_path / "w.pth"
    arguments = ("init", "resnet20", photos, "-o", recipe, "--weights", weights)
    assert "w.pth" in refused(*arguments)
    other = Network.fresh("resnet20", {"num_classes": 7}, seed=0)
    torch.save(dict(other.weights), weights)
    assert "3 folders, one for each class" in refused(*arguments)
    assert not recipe.exists()
    fits = Network.fresh("resnet20", {"num_classes": 3}, seed=0)
    torch.save(dict(fits.weights), weights)
    edgeticket(*arguments)
    written = read_recipe(recipe, [])
    assert [step.method for step in written.compress] == ["ptq"]
    assert written.train is None


def test_the_passes_in_comments_can_be_uncommented(tmp_path: Path, photos: Path) -> None:
    recipe, weights = tmp_path / "mine.yaml", tmp_path / "w.pth"
    torch.save(dict(Network.fresh("resnet20", {"num_classes": 3}, seed=0).weights), weights)
    edgeticket("init", "resnet20", photos, "-o", recipe, "--weights", weights)
    before, line, after = recipe.read_text().partition("in front of these lines:\n")
    assert line
    commented, rest = [], after.splitlines(keepends=True)
    while rest[0].startswith("  # "):
        commented.append(f"  {rest.pop(0)[4:]}")
    recipe.write_text(before + line + "".join(commented + rest))
    methods = [step.method for step in read_recipe(recipe, []).compress]
    assert methods == ["channel_magnitude", "finetune", "ptq"]


def test_a_bundle_of_a_folder_of_pictures(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = network_file(tmp_path, side=64)
    tflite = tmp_path / "own.tflite"
    tflite.write_bytes(TARGETS["tflite-fp32"].convert(file.read_bytes()).data)
    told = edgeticket(
        *("bundle", file, tflite, "--samples", photos, "--mean", "127.5", "--std", "127.5"),
        *("-o", tmp_path / "made"),
    )
    assert "resized to 73 (the shorter side), the middle 64x64, scaled by --mean and --std" in told
    with open_bundle(tmp_path / "made") as bundle:
        inputs, labels = bundle.samples()
        assert inputs.shape == (36, 64, 64, 3)
        assert labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
        assert bundle.manifest.labels == ("blue", "green", "red")
        assert [step["op"] for step in bundle.manifest.capture] == ["resize", "center_crop"]
    assert "pixels go in as 0 to 255" in edgeticket(
        "bundle", file, "--samples", photos, "-o", tmp_path / "raw"
    )


@pytest.mark.parametrize("flat", [False, True])
def test_a_bundle_names_what_it_passes_over(tmp_path: Path, photos: Path, flat: bool) -> None:
    """As text: a name of a file steers no terminal and is no markup."""
    file, folder = network_file(tmp_path), tmp_path / "given"
    shutil.copytree(photos / "red" if flat else photos, folder)
    where = folder if flat else folder / "red"
    os.mkfifo(where / "pipe.png")
    (where / "endless.jpg").symlink_to("/dev/zero")
    (where / "a[bold]\x1b[31m.png").symlink_to(tmp_path / "none")
    for name in ("notes.txt", ".DS_Store", "z1.gif.part", "z2.gif.part"):
        (where / name).write_text("")
    if flat:
        (folder / "below").mkdir()
        (folder / "numbers.txt").write_text("0\n" * 12)
    labels = ("--labels", folder / "numbers.txt") if flat else ()  # it is read, so it is not named
    told = edgeticket("bundle", file, "--samples", folder, *labels, "-o", tmp_path / "made")
    some = ["a[bold]\\x1b[31m.png", "endless.jpg", "notes.txt", "pipe.png"]
    if flat:
        some = [some[0], "below/", *some[1:3]]
    names = ", ".join(name if flat else f"red/{name}" for name in some)
    more = 3 if flat else 2
    assert f"passed over in {folder}, no plain pictures: {names} and {more} more " in told
    with open_bundle(tmp_path / "made") as bundle:
        assert len(bundle.samples()[0]) == (12 if flat else 36)


@pytest.mark.parametrize("arrays", [False, True])
def test_what_lies_beside_samples_is_no_sample(tmp_path: Path, photos: Path, arrays: bool) -> None:
    """What systems leave is not even named: a ``._a.npy`` makes no folder of arrays."""
    file, folder = network_file(tmp_path), tmp_path / "given"
    shutil.copytree(photos / "red", folder)
    for name in ("._a.npy", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"x" * 100)
    if arrays:
        for number in range(3):
            np.save(folder / f"{number}.npy", np.zeros((32, 32, 3), np.uint8))
        (folder / "2.npy").rename(folder / "B.NPY")
        os.mkfifo(folder / "pipe.npy")
        (folder / "endless.npy").symlink_to("/dev/zero")
    told = edgeticket("bundle", file, "--samples", folder, "-o", tmp_path / "made")
    assert "a.npy" not in told
    assert ("no plain .npy files: " in told) is arrays
    with open_bundle(tmp_path / "made") as bundle:
        assert len(bundle.samples()[0]) == (3 if arrays else 12)


def test_a_folder_of_pictures_for_a_file_with_weights_beside_it(
    tmp_path: Path, photos: Path
) -> None:
    file = network_file(tmp_path)
    onnx.save(
        onnx.load(file),
        file,
        save_as_external_data=True,
        location="own.onnx.data",
        size_threshold=0,
    )
    edgeticket("bundle", file, "--samples", photos, "-o", tmp_path / "made")
    with open_bundle(tmp_path / "made") as bundle:
        assert bundle.samples()[0].shape == (36, 32, 32, 3)


def test_pictures_by_themselves_tell_accuracy_with_labels_alone(
    tmp_path: Path, photos: Path
) -> None:
    file, flat = network_file(tmp_path), tmp_path / "flat"
    shutil.copytree(photos / "red", flat)
    arguments = ("bundle", file, "--samples", flat, "-o", tmp_path / "made")
    assert "without classes for them: reports tell fidelity alone" in edgeticket(*arguments)
    with open_bundle(tmp_path / "made") as bundle:
        assert bundle.manifest.task.name == "nothing"
    (tmp_path / "labels.txt").write_text("2\n" * 12)
    edgeticket(*arguments, "--labels", tmp_path / "labels.txt")
    with open_bundle(tmp_path / "made") as bundle:
        assert bundle.samples()[1].tolist() == [2] * 12


def test_folders_that_are_some_of_the_classes_need_names(tmp_path: Path, photos: Path) -> None:
    file = network_file(tmp_path, classes=5)
    arguments = ("bundle", file, "--samples", photos, "-o", tmp_path / "made")
    assert "give --names" in refused(*arguments)
    (tmp_path / "names.txt").write_text("red\nyellow\nblue\nblack\ngreen\n")
    edgeticket(*arguments, "--names", tmp_path / "names.txt")
    with open_bundle(tmp_path / "made") as bundle:
        assert sorted(set(bundle.samples()[1].tolist())) == [0, 2, 4]


def test_a_bundle_takes_the_place_of_nothing_else(tmp_path: Path, photos: Path) -> None:
    file, out = network_file(tmp_path), tmp_path / "made"
    arguments = ("bundle", file, "--samples", photos, "-o", out)
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    assert "did not make" in refused(*arguments)
    (out / "thesis.tex").rename(tmp_path / "thesis.tex")
    (tmp_path / "made.zip").write_text("mine")
    assert "made.zip is there already" in refused(*arguments)
    (tmp_path / "made.zip").unlink()
    edgeticket(*arguments)
    (out / "notes.txt").write_text("mine")
    edgeticket(*arguments)
    assert (out / "notes.txt").read_text() == "mine"
    assert (tmp_path / "thesis.tex").read_text() == "years"
    assert device_runner(["check", str(out)]) == 0
    assert json.loads((out / "manifest.json").read_text())["name"] == "made"
