"""Targets and outputs that cannot be: `bundle` says the place, the value and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app

COUNT = 6
RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 3, (COUNT, 8, 8))
BOX: dict[str, Any] = {
    "sample": np.array([0, 1]),
    "box": np.array([[1.0, 1, 9, 9], [2, 2, 8, 8]]),
    "label": np.array([0, 1]),
}
DETECTOR = ["input=[32,32]", "scores={outputs: [0], count: 3}", "boxes={outputs: [1], count: 4}"]


def model(outputs: dict[str, list[int]], takes: list[int], nodes: list[Any]) -> bytes:
    """An ONNX file of ``nodes``, which may multiply by `w1`, `w2`, ...: random [16, n]."""
    width = {name: int(np.prod(shape)) for name, shape in outputs.items()}
    weights = [
        numpy_helper.from_array(RNG.normal(size=(16, n)).astype(np.float32), f"w_{name}")
        for name, n in width.items()
    ]
    shapes = [numpy_helper.from_array(np.array(s), f"s_{name}") for name, s in outputs.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, takes)],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [*weights, *shapes],
    )
    opset = [helper.make_opsetid("", 17)]
    whole: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return whole


def products(*names: str) -> list[Any]:
    return [
        node
        for name in names
        for node in (
            helper.make_node("MatMul", ["x", f"w_{name}"], [f"p_{name}"]),
            helper.make_node("Reshape", [f"p_{name}", f"s_{name}"], [name]),
        )
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    same = [helper.make_node("Relu", ["x"], ["y"])]
    (folder / "picture.onnx").write_bytes(model({"y": [1, 3, 8, 8]}, [1, 3, 8, 8], same))
    (folder / "vector.onnx").write_bytes(model({"y": [1, 8]}, [1, 16], products("y")))
    (folder / "detector.onnx").write_bytes(
        model({"s": [1, 20, 3], "b": [1, 20, 4]}, [1, 16], products("s", "b"))
    )
    nodes = [*products("z"), helper.make_node("Log", ["z"], ["y"])]
    (folder / "log.onnx").write_bytes(model({"z": [1, 8], "y": [1, 8]}, [1, 16], nodes))
    np.savez(folder / "picture.npz", x=RNG.random((COUNT, 3, 8, 8), np.float32))
    np.savez(folder / "vector.npz", x=RNG.normal(size=(COUNT, 16)).astype(np.float32))
    return folder


def bundle(folder: Path, network: str, out: Path, *words: str) -> None:
    samples = "picture" if network == "picture" else "vector"
    given = [str(folder / f"{network}.onnx"), "--samples", str(folder / f"{samples}.npz")]
    done = CliRunner().invoke(
        app, ["bundle", *given, "-o", str(out), *words], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("network", "task", "arrays", "sentence"),
    [
        ("picture", "masks", {"mask": MASK[:, :4, :4]}, "masks of 8x8 pixels, the targets' are"),
        (
            "picture",
            "masks",
            {"mask": np.where(np.arange(COUNT)[:, None, None] == 2, 6, MASK)},
            "the mask of sample 2 has class 6, the output has 3 classes",
        ),
        ("picture", "masks", {"masks": MASK}, "known: mask: call it 'mask', or leave it out"),
        (
            "picture",
            "images",
            {"image": RNG.integers(0, 256, (COUNT, 3, 8, 8), dtype=np.uint8)},
            "beyond peak = 1: set peak to 255",
        ),
        (
            "vector",
            "numbers",
            {"values": np.where(np.arange(48).reshape(6, 8) == 20, np.nan, 1.0)},
            "'values' is not finite for sample 2: leave the sample out",
        ),
        ("vector", "numbers", {"values": np.zeros((COUNT, 7))}, "must be alike"),
        (
            "vector",
            "numbers",
            {"values": np.array([[1] * i for i in range(1, 7)], dtype=object)},
            "rows of unequal length, or of objects: fill them up to one length",
        ),
        ("vector", "numbers", None, "absent.npz"),
        ("vector", "labels", {"labels": np.zeros((COUNT, 5), int)}, "must be alike"),
        ("vector", "keypoints", {"points": np.zeros((COUNT, 3, 2))}, "must be alike"),
        (
            "detector",
            "boxes",
            {**BOX, "box": np.array([[1.0, 1, 9, 9], [2, 2, 80, 8]])},
            "box 1 is [2.0, 2.0, 80.0, 8.0], outside of its picture of 32x32: cut it",
        ),
        ("detector", "boxes", {**BOX, "box": BOX["box"] * [[1.0], [np.nan]]}, "box 1 is [nan,"),
        ("detector", "boxes", {**BOX, "label": np.array([0, 7])}, "class 7, the network has 3"),
        ("detector", "boxes", {**BOX, "sample": np.array([0, 17])}, "counted from 0: leave it out"),
    ],
)
def test_targets_that_cannot_be_are_a_sentence(
    folder: Path,
    tmp_path: Path,
    network: str,
    task: str,
    arrays: dict[str, Any] | None,
    sentence: str,
) -> None:
    file = tmp_path / ("absent.npz" if arrays is None else "targets.npz")
    if arrays is not None:
        np.savez(file, **arrays)
    settings = [w for s in DETECTOR * (task == "boxes") for w in ("--task-settings", s)]
    words = ["--task", task, *settings, "--targets", str(file)]
    with pytest.raises(InputError) as caught:
        bundle(folder, network, tmp_path / "b", *words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_references_that_are_not_finite_are_counted(folder: Path, tmp_path: Path) -> None:
    sentence = r"the output y in float32 is not finite for 6 of 6 samples, the first is sample 0"
    with pytest.raises(InputError, match=sentence):
        bundle(folder, "log", tmp_path / "b")
    assert not (tmp_path / "b").exists()
