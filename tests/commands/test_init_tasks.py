"""`init --task`: recipes for data on disk that fit, or a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_fixtures import write_coco, write_yolo
from PIL import Image
from typer.testing import CliRunner

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.inspect.detector_head import head_of
from edgeticket.pipeline.recipe import read_recipe

NETS = """
import torch
from torch import nn


class Detector(nn.Module):
    def __init__(self, classes=7):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, 8, 1)
        self.scores, self.sides = nn.Conv2d(8, classes, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.body(x).relu()
        return self.scores(x), self.sides(x).relu()


def segmenter(num_classes):
    return nn.Conv2d(3, num_classes, 3, padding=1)


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.gru(x)[0][:, -1])


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(7, 1)

    def forward(self, left, right):
        return self.out(torch.cat([left, right], 1))
"""


def write_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    (folder / "newcomer.py").write_text(NETS)
    write_coco(folder / "coco", 40)
    write_yolo(folder / "yolo" / "images", folder / "yolo" / "labels", 40)
    (folder / "yolo" / "classes.txt").write_text("dog\ncat\n")
    for kind in ("images", "masks"):
        (folder / "roads" / kind).mkdir(parents=True)
    for i in range(40):
        pixels = random.integers(0, 256, (34, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "roads" / "images" / f"{i}.png")
        Image.fromarray(pixels[..., 0] % 3).save(folder / "roads" / "masks" / f"{i}.png")
    rows = [f"d{i},{i % 7},{i / 100}" for i in range(300)]
    (folder / "power.csv").write_text("\n".join(["day,load,heat", *rows]))
    left, right = random.normal(size=(40, 3)), random.normal(size=(40, 4))
    arrays = {"left": left.astype(np.float32), "right": right.astype(np.float32)}
    np.savez(folder / "both.npz", **arrays, values=left[:, :1].astype(np.float32))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer")
    write_data(folder)
    return folder


@pytest.fixture
def data(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written)
    return written


def refused(*args: str) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, ["init", *args], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    assert not Path("recipe.yaml").exists()
    return str(caught.value)


CASES = [
    ("Detector", ["coco", "--task", "boxes", "--size", "32"], "3x32x32"),
    ("Detector", ["yolo", "--task", "boxes", "--size", "32"], "3x32x32"),
    ("segmenter", ["roads", "--task", "masks"], "3x32x32"),
    ("Forecast", ["power.csv", "--task", "series", "--takes", "24x2"], "24x2"),
    ("Both", ["both.npz", "--task", "numbers"], "3 and 4"),
]


@pytest.mark.parametrize(("network", "args", "takes"), CASES)
def test_a_recipe_for_a_task_is_one_that_its_data_and_network_fit(
    data: Path, network: str, args: list[str], takes: str
) -> None:
    wanted = ["init", f"import:newcomer:{network}", *args, "-o", "mine.yaml", "--force"]
    done = CliRunner().invoke(app, wanted, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    recipe = read_recipe(data / "mine.yaml")
    assert recipe.task is not None
    assert recipe.task.name == args[2]
    looked = CliRunner().invoke(app, ["inspect", "mine.yaml"], catch_exceptions=False)
    assert looked.exit_code == 0, looked.output
    assert f"takes {takes};" in looked.output  # of the data, which were read


@pytest.mark.parametrize("takes", [["3,4"], ["3", "4"]])
def test_each_input_may_have_a_flag_of_its_own(data: Path, takes: list[str]) -> None:
    flags = [word for one in takes for word in ("--takes", one)]
    wanted = ["init", "import:newcomer:Both", *flags, "-o", "two.yaml", "--force"]
    done = CliRunner().invoke(app, wanted, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert read_recipe(data / "two.yaml").data.takes == ((3,), (4,))


def test_what_lies_for_another_task_is_no_folder_of_classes(data: Path) -> None:
    for source, task in (("coco", "boxes"), ("yolo", "boxes"), ("roads", "masks")):
        assert f"give --task {task}," in refused("resnet18", source)
    assert "give --task series," in refused("import:newcomer:Forecast", "power.csv")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["Detector", "roads", "--task", "boxes"],
            "roads has no boxes: give a folder with a .json",
        ),
        (["Forecast", "power.csv", "--task", "series"], "--takes 24x2, or columns x steps"),
        (["Forecast", "power.csv", "--task", "serie"], "no such task (known: labels,"),
        (["Detector", "coco", "--task", "masks"], "pictures/NAME.jpg and masks/NAME.png"),
        (["segmenter", "coco", "--task", "boxes", "--size", "32"], "1x2x32x32 for 2 classes"),
        (["Both", "both.npz"], "leave out the others, or give --task"),
        (["Both", "both.npz", "--task", "series"], "for task series it needs future"),
    ],
)
def test_what_init_cannot_do_says_what_to_do(data: Path, args: list[str], sentence: str) -> None:
    assert sentence in refused(f"import:newcomer:{args[0]}", *args[1:])


def test_masks_of_two_values_are_told_of_colours(data: Path) -> None:
    for kind in ("images", "masks"):
        (data / "binary" / kind).mkdir(parents=True)
        Image.fromarray(np.full((34, 40), 255, np.uint8)).save(data / "binary" / kind / "a.png")
    assert "data.masks.colours" in refused("import:newcomer:segmenter", "binary", "--task", "masks")


@pytest.mark.parametrize(
    ("shapes", "classes", "head"),
    [
        ([(1, 20, 12, 8), (1, 4, 12, 8)], 20, {"layout": "first", "strides": [8]}),
        ([(1, 4, 12, 8), (1, 12, 8, 20)], 20, None),
        ([(1, 12, 8, 20), (1, 12, 8, 4)], 20, {"layout": "last", "strides": [8]}),
        ([(1, 84, 12, 8), (1, 84, 6, 4)], 80, {"strides": [8, 16], "first": 4}),
        ([(1, 144, 12, 8), (1, 144, 6, 4)], 80, {"strides": [8, 16], "first": 64, "bins": 16}),
        ([(1, 84, 126)], 80, {"layout": "first", "first": 4, "form": "cxcywh"}),
        ([(1, 126, 84)], 80, {"layout": "last", "first": 4, "form": "cxcywh"}),
        ([(1, 21, 12, 8), (1, 4, 12, 8)], 20, None),
        ([(1, 10)], 10, None),
    ],
)
def test_heads_are_read_by_shapes(
    shapes: list[tuple[int, ...]], classes: int, head: dict[str, Any] | None
) -> None:
    settings = head_of(shapes, classes, (96, 64))
    if head is None:
        assert settings is None
        return
    assert settings is not None
    flat = {**settings, **settings["decode"], "first": settings["scores"].get("first", 0)}
    assert {key: flat[key] for key in head} == head
