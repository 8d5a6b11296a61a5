"""`edgeticket bundle --letterbox`: boxes of a detector made elsewhere come back in pixels of the
pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import read_settings
from edgeticket.pipeline.cli import app

SETTINGS = ("input=[16,32]", 'boxes={"count":4}', 'scores={"count":1,"first":4}')
SIZES = [[40, 20], [10, 20]]  # height and width: with filling beside it, and without


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Always one box, (12, 0, 20, 16) of the input of 16x32 pixels, beside two pictures."""
    arrays = {
        "zero": np.zeros((1, 1, 1), np.float32),
        "box": np.array([[[12, 0, 20, 16, 0.9]]], np.float32),
        "shape": np.array([1, 1, 3], np.int64),
        "axes": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["row"]),
        helper.make_node("ReduceMean", ["row"], ["one"], axes=[2], keepdims=1),
        helper.make_node("Mul", ["one", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "box"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name != "axes"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "detector.onnx")
    (tmp_path / "pictures").mkdir()
    for i, (height, width) in enumerate(SIZES):
        pixels = np.full((height, width, 3), 50 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path / "detector.onnx"


def bundle(detector: Path, targets: dict[str, Any] | None, *words: str) -> Path:
    given = []
    if targets is not None:
        np.savez(detector.parent / "targets.npz", **targets)
        given = ["--targets", str(detector.parent / "targets.npz")]
    settings = [word for setting in SETTINGS for word in ("--task-settings", setting)]
    out = detector.parent / "b"
    line = ["bundle", str(detector), "--samples", str(detector.parent / "pictures"), "-o", str(out)]
    done = CliRunner().invoke(
        app, [*line, "--task", "boxes", *settings, *given, *words], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return out


RIGHT = {
    "sample": np.array([0, 1]),
    "box": np.array([[0, 0, 20, 40], [7.5, 0, 12.5, 10]], np.float32),
    "label": np.array([0, 0]),
}


def test_boxes_come_back_in_pixels_of_the_pictures(detector: Path) -> None:
    with open_bundle(bundle(detector, RIGHT, "--letterbox", "16x32")) as opened:
        manifest = opened.manifest
        assert manifest.task.settings["picture"] == "letterbox_centre"
        (step,) = manifest.capture
        assert (step["op"], step["size"], step["fill"]) == ("letterbox", [16, 32], 114)
        (stored,), targets = opened.examples()
        outputs = opened.references("model-1")
        assert isinstance(targets, dict)
        assert outputs is not None
        assert targets["size"].tolist() == SIZES
        assert (stored[0, :, :12] == 114).all()
        assert (stored[0, :, 12:20] == 0).all()
        task, settings = read_settings("boxes", manifest.task.settings, place="task")
        metrics = task.score(list(outputs), targets, settings)
    assert metrics["map"] == 1.0


def test_without_targets_there_is_no_size(detector: Path) -> None:
    with open_bundle(bundle(detector, None, "--letterbox", "16x32")) as opened:
        assert opened.manifest.task.settings["picture"] == "letterbox_centre"
        assert opened.manifest.samples.targets is None


def test_targets_in_pixels_of_the_input_stay(detector: Path) -> None:
    box = np.tile(np.array([[12, 0, 20, 16]], np.float32), (2, 1))
    words = ("--letterbox", "16x32", "--task-settings", "picture=input")
    with open_bundle(bundle(detector, {**RIGHT, "box": box}, *words)) as opened:
        _, targets = opened.examples()
        assert isinstance(targets, dict)
        assert "size" not in targets


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--letterbox", "16"), "write it as HxW, e.g. 240x320"),
        (("--letterbox", "0x32"), "--letterbox"),
        (("--letterbox", "32x16"), "takes pictures of 16x32"),
        (("--letterbox", "16x32", "--task-settings", "input=[32,32]"), "make them alike"),
        (("--letterbox", "16x32", "--task-settings", "picture=stretched"), "leave it out"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    detector: Path, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        bundle(detector, RIGHT, *words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_size_than_that_of_the_picture_is_refused(detector: Path) -> None:
    wrong = {**RIGHT, "size": np.array([[40, 20], [11, 20]])}
    with pytest.raises(InputError, match=r"size of sample 1 is \[11, 20\]"):
        bundle(detector, wrong, "--letterbox", "16x32")


def test_arrays_are_put_in_no_letterbox(detector: Path) -> None:
    np.save(detector.parent / "x.npy", np.zeros((2, 16, 32, 3), np.uint8))
    line = ["bundle", str(detector), "--samples", str(detector.parent / "x.npy"), "-o"]
    words = [*line, str(detector.parent / "b"), "--letterbox", "16x32"]
    with pytest.raises(InputError, match="--letterbox is for a folder of pictures"):
        CliRunner().invoke(app, words, catch_exceptions=False)
