"""The command `edgeticket`: what cannot be done ends in one sentence and exit code 2."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diff_fixtures import transposed_kernel, write_small_bundle
from process_fixtures import running
from runner_fixtures import QUICK as PLAN
from runner_fixtures import write_tiny_bundle
from safetensors.torch import load_file, save_file

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.report import write_report
from edgeticket.models.network import Network
from edgeticket.pipeline.cli import main

QUICK = """
name: quick
data: {name: digits, train: 100, validation: 50, calibration: 20, test: 50}
model: {arch: lenet5}
train: {epochs: 1, batch_size: 50, lr: 0.01}
compress:
  - method: ptq
bench: {min_seconds: 0, min_queries: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    """Exit code and stderr of `edgeticket ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgeticket", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    assert code is None or isinstance(code, int)
    return code or 0, capfd.readouterr().err


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[object]:
    """A call that must end in one sentence; gives the sentence. No results may be left."""

    def refuse(*arguments: object) -> str:
        code, told = call(monkeypatch, capfd, *arguments)
        assert code == 2, told
        assert told.startswith("edgeticket: error: "), told
        assert told.count("\n") == 1, told
        return told

    yield refuse
    assert not (tmp_path / "runs" / "quick").exists()


def run(recipe: Path, *overrides: str) -> list[object]:
    sets = [word for override in overrides for word in ("--set", override)]
    folder = recipe.parent
    return ["run", recipe, "--out", folder / "runs", "--data", folder / "data", *sets]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epohcs=3", ["train.epohcs", "did you mean epochs?"]),
        ("model.arch=resnet21", ["resnet21", "resnet20"]),
        ("model.args.depth=3", ["lenet5", "depth"]),
        ("model.arch=resnet20", ["3x32x32", "1x28x28"]),
        ("model.args.num_classes=7", ["7 outputs", "10 classes"]),
        ("model={arch: digits_vit, args: {heads: 5}}", ["model: heads (5) must divide"]),
        ("data.name=digit", ["'digit'", "did you mean digits?"]),
        ("data.name=cifar10", ["edgeticket fetch cifar10"]),
        ("data.train=100000", ["100000", "5000"]),
        ("data.calibration=0", ["data.calibration", "not 0"]),
        ("train.lr=1e30", ["loss", "epoch"]),
    ],
)
def test_run_refuses(recipe: Path, refused: object, override: str, parts: list[str]) -> None:
    told = refused(*run(recipe, override))
    for part in parts:
        assert part in told


def test_recipe_that_is_not_there(refused: object, tmp_path: Path) -> None:
    assert "cannot read recipe" in refused("run", tmp_path / "none.yaml")
    assert "ready: " in refused("run", "nonesuch")


@pytest.mark.parametrize("damage", ["absent", "no safetensors", "names", "shapes", "nan"])
def test_weights_that_do_not_fit(recipe: Path, refused: object, damage: str) -> None:
    file = recipe.parent / "w.safetensors"
    weights = dict(Network.fresh("lenet5", {}, seed=0).weights)
    first = next(iter(weights))
    if damage == "names":
        weights["another.weight"] = weights.pop(first)
    elif damage == "shapes":
        weights[first] = weights[first][:1].clone()
    elif damage == "nan":
        weights[first].view(-1)[3] = torch.nan
    if damage == "no safetensors":
        file.write_bytes(b"\x80\x04pickle")
    elif damage != "absent":
        save_file(weights, file)
    told = refused(*run(recipe, "train=null", f"model.weights={file}"))
    assert "w.safetensors" in told
    if damage in ("names", "shapes", "nan"):
        assert first in told
        assert load_file(file).keys() == weights.keys()


def test_a_folder_that_is_a_file(recipe: Path, refused: object) -> None:
    (recipe.parent / "runs").write_text("")
    assert "runs" in refused(*run(recipe))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(recipe: Path, refused: object, full_disk: Path) -> None:
    told = refused("run", recipe, "--out", full_disk / "runs", "--data", recipe.parent)
    assert "No space left on device" in told
    assert not (full_disk / "runs" / "quick").exists()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    bundle = write_tiny_bundle(folder / "bundle")
    (measured,) = bench(bundle, artifact="tiny-ort-fp32", plan=PLAN)
    write_report(measured, folder / "a.json")
    return folder / "a.json"


def test_compare_exit_codes(
    report: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capfd, "compare", report, report)[0] == 0
    assert call(monkeypatch, capfd, "compare", report, report, "--min-speedup", 2)[0] == 1
    assert call(monkeypatch, capfd, "compare", report, report, "--max-drop", 0)[0] == 0


def test_compare_prints_json(
    report: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgeticket", "compare", str(report), str(report), "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capfd.readouterr().out)["agreement"] == 1.0


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda d: d | {"schema_version": 99}, "newer"),
        (lambda d: d | {"schema_version": 1}, "made by an older edgeticket: make it again"),
        (lambda d: d | {"schema_version": "1"}, "schema_version"),
        (lambda d: {k: v for k, v in d.items() if k != "latency"}, "latency"),
        (lambda d: [], "allowed: object"),
    ],
    ids=["newer", "older", "text", "incomplete", "list"],
)
def test_compare_refuses_other_documents(
    report: Path, refused: object, tmp_path: Path, change: object, part: str
) -> None:
    other = tmp_path / "b.json"
    other.write_text(json.dumps(change(json.loads(report.read_text()))))
    assert part in refused("compare", report, other)
    assert "cannot read" in refused("compare", report, tmp_path / "none.json")


def test_fetch_refuses(refused: object, tmp_path: Path) -> None:
    assert "'cifar11'" in refused("fetch", "cifar11", "--data", tmp_path)
    assert "nothing to fetch" in refused("fetch", "digits", "--data", tmp_path)
    broken = tmp_path / "broken.npz"
    np.savez(broken, a=np.zeros(3))
    for dataset in ("cifar10", "fashion_mnist"):
        assert "broken.npz" in refused("fetch", dataset, "--from", broken, "--data", tmp_path)


def test_experiment_and_results_refuse(refused: object, tmp_path: Path) -> None:
    assert "ready: conv4_cifar10, distil_digits, lenet300_fashion" in refused(
        "experiment", "nonesuch"
    )
    assert "cannot read experiment" in refused("experiment", tmp_path / "none.yaml")
    assert "no result lines" in refused("results", tmp_path, "-o", tmp_path / "results.md")
    (tmp_path / "a.jsonl").write_text('{"a": 1\n')
    told = refused("results", tmp_path, "-o", tmp_path / "results.md")
    assert "a.jsonl, line 1" in told


def test_help_teaches(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["run"], ["experiment"], ["results"], ["compare"], ["fetch"]):
        monkeypatch.setattr(sys, "argv", ["edgeticket", *command, "--help"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        assert len(capfd.readouterr().out) > 300


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(recipe: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "edgeticket.pipeline",
        *map(str, run(recipe, "train.epochs=10000")),
    ]
    stages = recipe.parent / "runs" / ".stages"
    with running(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(stages.glob("train-*/resume/training.pt")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.strip() == "edgeticket: stopped; the same command goes on from here"


def test_diff_tells_the_layer_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = write_small_bundle(tmp_path / "bundle", {"tflite-int8": transposed_kernel("wide")})
    monkeypatch.setattr(sys, "argv", ["edgeticket", "diff", str(bundle), "--json",
                                      str(tmp_path / "d.json"), "--samples", "2"])  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        main()
    said = capfd.readouterr().out
    assert caught.value.code == 1
    assert "tflite-int8: wide is the first layer over its bound" in said
    document = json.loads((tmp_path / "d.json").read_text())
    assert document["first_over"] == {"ort-int8": None, "tflite-int8": "wide"}
    assert document["pairs"][0]["first"] == "wide"
    assert document["samples"] == 2
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--bound", "255", "--min-equal", "0"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


def test_diff_refuses_in_a_sentence(tmp_path: Path, refused: object) -> None:
    assert callable(refused)
    bundle = write_small_bundle(tmp_path / "bundle")
    assert "no artifact 'x'" in refused("diff", bundle, "--artifact", "x")
    assert "does not exist" in refused("diff", bundle, "--taps", tmp_path / "none.npz")
    assert "cannot read" in refused("diff", bundle, "--reference", tmp_path)
