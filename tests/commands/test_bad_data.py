"""Data that cannot be, through `run` and `bench`: exit 2, one sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny
import yaml
from layout_fixtures import save, write_coco, write_csv, write_json, write_masks, write_yolo

from edgeticket.device_runner.cli import main as runner
from edgeticket.device_runner.manifest import Network, Task
from edgeticket.device_runner.npz import format_npz
from edgeticket.device_runner.strict_json import format_json, parse_json
from edgeticket.pipeline.bundle import StoredInput, write_bundle
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.data.targets import Targets

Change = Callable[[Path], Any]
PICTURES: dict[str, Any] = {
    "letterbox": {"size": 32},
    "grey": True,
    "validation": 2,
    "calibration": 2,
}
DETECTOR: dict[str, Any] = {
    "name": "boxes", "input": [32, 32], "layout": "first", "activation": "sigmoid",
    "scores": {"outputs": [0], "count": 2}, "boxes": {"outputs": [1], "count": 4},
    "decode": {"kind": "centres", "coding": "ltrb", "strides": [8]},
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "coco": {
        "data": {"coco": {"annotations": "all.json", "pictures": "all"}, **PICTURES},
        "task": DETECTOR,
        "model": {"arch": "cell_detector", "args": {"num_classes": 2, "side": 32}},
    },
    "yolo": {
        "data": {"yolo": ".", **PICTURES},
        "task": DETECTOR,
        "model": {"arch": "cell_detector", "args": {"num_classes": 2, "side": 32}},
    },
    "masks": {
        "data": {"masks": {"pictures": "pictures", "masks": "masks"}, **PICTURES},
        "task": "masks",
        "model": {"arch": "unet"},
    },
    "series": {
        "data": {
            "series": {
                "file": "s.csv",
                "channels": ["a"],
                "series": "who",
                "targets": ["odd"],
            },
            "validation": 1,
            "calibration": 1,
        },
        "task": "anomaly",
        "model": {"arch": "conv_gru"},
    },
}


def annotations(change: Callable[[Any], Any]) -> Change:
    def apply(place: Path) -> None:
        document = json.loads((place / "all.json").read_text())
        change(document)
        write_json(place / "all.json", document)

    return apply


def box(value: Any) -> Change:
    return annotations(lambda d: d["annotations"][3].update(bbox=value))


def line(text: str) -> Change:
    return lambda place: (place / "labels" / "3.txt").write_text(text)


def crowded(document: Any) -> None:
    one = document["annotations"][1]
    document["annotations"] += [{**one, "id": 100 + i} for i in range(10_000)]


def write_series(place: Path) -> None:
    rows = [(f"s{s}", s % 2, s + t) for s in range(12) for t in range(9 if s == 3 else 8)]
    write_csv(place / "s.csv", ["who", "odd", "a"], rows)


BAD: list[tuple[str, Change, list[str]]] = [
    ("coco", lambda p: (p / "all.json").unlink(), ["no file all.json"]),
    ("coco", lambda p: (p / "all.json").write_text(""), ["all.json"]),
    ("coco", lambda p: (p / "all.json").write_text('{"a": 1}'), ["images is missing", "COCO"]),
    ("coco", box([30, 3, 400, 5]), ["annotations[3]", "400", "outside of its picture", "mend"]),
    ("coco", box([float("nan"), 1, 2, 3]), ["all.json", "NaN"]),
    (
        "coco",
        annotations(lambda d: d.update(annotations=[])),
        ["none of the 12 pictures has a box"],
    ),
    (
        "coco",
        annotations(lambda d: d["annotations"][2].update(category_id=77)),
        ["annotations[2]", "77", "add it to categories"],
    ),
    (
        "coco",
        annotations(lambda d: d["images"][1].update(id=d["images"][0]["id"])),
        ["images[1]", "again"],
    ),
    ("coco", annotations(crowded), ["10,001 boxes", "1.png"]),
    ("coco", lambda p: (p / "all" / "2.png").unlink(), ["images[2]", "2.png", "copy it"]),
    ("yolo", lambda p: shutil.rmtree(p / "labels"), ["labels"]),
    ("yolo", line("7 0.5 0.5 0.1 0.1\n"), ["3.txt, line 1", "class 7", "there are 2"]),
    ("yolo", line("0 0.95 0.5 0.5 0.1\n"), ["3.txt, line 1", "outside of its picture"]),
    ("yolo", line("0 nan 0.5 0.1 0.1\n"), ["3.txt, line 1", "not finite"]),
    ("yolo", line("0 0.5 0.5 0.1 0.1\n" * 10_000), ["3.txt", "10,000 boxes", "more than 5,000"]),
    (
        "masks",
        lambda p: (p / "masks" / "3.png").unlink(),
        ["data.masks", "no mask of their name (3)", "remove"],
    ),
    ("masks", lambda p: (p / "masks" / "3.png").write_bytes(b""), ["3.png", "no whole picture"]),
    (
        "masks",
        lambda p: save(p / "masks" / "3.png", np.ones((9, 7), np.uint8)),
        ["3.png has 7x9 pixels", "give a mask of the picture's size"],
    ),
    (
        "masks",
        lambda p: save(p / "masks" / "3.png", np.full((9, 7), 300, np.uint16)),
        ["3.png has class 300", "0 to 254"],
    ),
    ("series", write_series, ["'s3' has 9 steps, not 8", "lengths: cut"]),
]


@pytest.mark.parametrize(("kind", "change", "words"), BAD)
def test_a_run_says_which_file_and_what_to_do(
    kind: str,
    change: Change,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "coco":
        write_coco(tmp_path, 12)
    elif kind == "yolo":
        write_yolo(tmp_path / "images", tmp_path / "labels", 12)
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
    elif kind == "masks":
        write_masks(tmp_path, 12)
    change(tmp_path)
    recipe = {
        "name": "bad", **KINDS[kind], "train": {"epochs": 1, "lr": 0.001, "optimizer": "adam"},
        "compress": [{"method": "ptq"}],
    }  # fmt: skip
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["edgeticket", "run", "bad.yaml", "--data", "."])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    sentence = " ".join(told.partition("error: ")[2].split())
    assert ended.value.code == 2, told
    assert "Traceback" not in told
    assert [word for word in words if word not in sentence] == [], told
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def contents(place: Path) -> dict[str, bytes]:
    files = (file for file in place.rglob("*") if file.is_file())
    return {str(file.relative_to(place)): file.read_bytes() for file in files}


COUNT = 6
VALUES = np.arange(COUNT * tiny.CLASSES, dtype=np.float32).reshape(COUNT, tiny.CLASSES)
ONE_NAN = np.where(VALUES == 9, np.nan, VALUES)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"values": ONE_NAN}, ["targets.npz", "'values'", "not finite for sample 1"]),
        ({"values": VALUES[:4]}, ["targets.npz", "'values' is for 4 samples, there are 6"]),
        ({"value": VALUES}, ["targets.npz", "'value'", "call it 'values'"]),
        ({"values": VALUES[:, :3]}, ["output 0", "must be alike"]),
        ({}, ["targets.npz", "values"]),
    ],
)
def test_a_bundle_made_by_hand_is_refused_before_anything_is_timed(
    arrays: dict[str, Any],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its hashes are right, its targets are not."""
    folder, files = tmp_path / "b", tiny.tiny_files(COUNT)
    folder.mkdir()
    manifest = tiny.tiny_manifest(files, COUNT)
    write_bundle(
        folder,
        name="tiny",
        artifacts=[(a, files[a.file]) for a in manifest.artifacts],
        inputs=[StoredInput("input", tiny.samples(COUNT)[0], (), tiny.STEPS)],
        targets=Targets(Task("numbers"), {"values": VALUES}, COUNT),
        dataset="noise",
        labels=(),
        networks={"tiny": Network(1, 1, {"mae": 0.5, "rmse": 0.75, "r2": -3.0})},
        provenance={},
    )
    data = format_npz(arrays)
    (folder / "samples" / "targets.npz").write_bytes(data)
    document = parse_json((folder / "manifest.json").read_bytes(), place="m")
    for entry in document["files"]:
        if entry["path"] == "samples/targets.npz":
            entry.update(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_bytes(format_json(document))
    assert runner(["bench", str(folder), "-o", str(tmp_path / "reports")]) == 2
    told = capsys.readouterr().err
    assert [word for word in words if word not in told] == [], told
    assert "Traceback" not in told
    assert contents(tmp_path / "reports") == {}
