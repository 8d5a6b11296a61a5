"""`init --task` for a .csv of pictures, and for pictures as targets: recipes that run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app

NETS = """
from torch import nn


class Head(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(nn.Conv2d(3, 6, 3, 8, 1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(96, num_classes))


def score():
    return Head(1)


def maps():
    return nn.Conv2d(3, 2, 3, 8, 1)


def upscaler():
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))


def copy():
    return nn.Conv2d(3, 3, 3, padding=1)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "tabled.py").write_text(NETS)
    (folder / "faces" / "pictures").mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = ["file,glad,old,who,odd,left_x,left_y,right_x,right_y,note"]
    for i in range(40):
        pixels = random.integers(0, 256, (34, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "faces" / "pictures" / f"{i}.png")
        places = ",".join(map(str, random.integers(0, 30, 4)))
        rows.append(f"{i}.png,{i % 2},{'' if i == 3 else i % 3 % 2},p{i % 5},{i % 2},{places},x")
    table = [row.split(",") for row in rows]
    columns = {
        "labels": [0, 1, 2],
        "embeddings": [0, 3],
        "anomaly": [0, 4],
        "keypoints": [0, 5, 6, 7, 8],
        "numbers": [0, 5, 9],
    }
    for task, kept in columns.items():
        lines = [",".join(row[i] for i in kept) for row in table]
        (folder / "faces" / f"{task}.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def data(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written)
    return written


CASES = [
    pytest.param("Head", "faces/labels.csv", "labels", marks=pytest.mark.slow),
    pytest.param("Head", "faces/numbers.csv", "numbers", marks=pytest.mark.slow),
    ("Head", "faces/keypoints.csv", "keypoints"),
    pytest.param("maps", "faces/keypoints.csv", "keypoints", marks=pytest.mark.slow),
    pytest.param("Head", "faces/embeddings.csv", "embeddings", marks=pytest.mark.slow),
    pytest.param("score", "faces/anomaly.csv", "anomaly", marks=pytest.mark.slow),
    ("upscaler", "faces/pictures", "images"),
]


@pytest.mark.parametrize(("network", "place", "task"), CASES)
def test_the_recipe_runs_to_a_bundle_of_its_task(
    data: Path, network: str, place: str, task: str
) -> None:
    recipe = f"{network}_{task}.yaml"
    model = f"import:tabled:{network}"
    wanted = ["init", model, place, "--task", task, "--takes", "3x32x32", "-o", recipe]
    done = CliRunner().invoke(app, wanted, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    quick = ["train.epochs=1", "bench.min_seconds=0.01", "bench.min_queries=3"]
    options = [word for key in quick for word in ("--set", key)]
    done = CliRunner().invoke(app, ["run", recipe, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with open_bundle(data / "runs" / f"{network}_{task}" / "bundle") as bundle:
        assert bundle.manifest.task.name == task
        assert {a.precision for a in bundle.manifest.artifacts} == {"fp32", "int8"}


@pytest.mark.parametrize(
    ("network", "place", "task", "sentence"),
    [
        ("maps", "faces/labels.csv", "labels", "it must give 2 numbers"),
        ("Head", "faces/embeddings.csv", "labels", "a column for each label, 1, 0 or empty"),
        ("copy", "faces/anomaly.csv", "anomaly", "give a .npz with `anomalous` and `input`"),
        ("Head", "faces/pictures", "images", "pictures of the same channels"),
        ("Head", "faces/pictures", "labels", "or a .csv with a row for each picture"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    data: Path, network: str, place: str, task: str, sentence: str
) -> None:
    model = f"import:tabled:{network}"
    wanted = ["init", model, place, "--task", task, "--takes", "3x32x32", "-o", "no.yaml"]
    with pytest.raises(InputError, match=sentence):
        CliRunner().invoke(app, wanted, catch_exceptions=False)
    assert not Path("no.yaml").exists()
