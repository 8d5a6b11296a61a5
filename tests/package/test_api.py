"""`import edgeticket`: what Python callers get, and that the commands use the same."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeticket
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.external.bundle import bundle_foreign

ROOT = Path(__file__).parents[2]
FUNCTIONS = [
    name for name in edgeticket.__all__ if inspect.isfunction(getattr(edgeticket, name))
]  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip


def inputs(count: int = 40) -> Any:
    return np.random.default_rng(0).normal(size=(count, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_keywords_behind_their_subjects_and_say_what_they_raise(name: str) -> None:
    function = getattr(edgeticket, name)
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    two = ("compare", "compare_with_history", "quantize", "why")
    subjects = 2 if name in two else 1
    assert set(kinds[subjects:]) <= {inspect.Parameter.KEYWORD_ONLY}
    assert "Raises:" in (function.__doc__ or "")


def test_everything_that_is_offered_is_there() -> None:
    assert set(edgeticket.__all__) <= set(dir(edgeticket))
    assert all(hasattr(edgeticket, name) for name in edgeticket.__all__)
    assert FUNCTIONS


@pytest.mark.parametrize("source", ["module", "bytes", "file"])
def test_a_module_and_its_onnx_become_files_that_answer_alike(source: str, tmp_path: Path) -> None:
    module, x = network(), inputs()
    given: nn.Module | bytes | Path = module
    if source != "module":
        float_graph = edgeticket.quantize(module, x).float_graph
        given = edgeticket.convert(float_graph, kinds=["onnx-fp32"])["onnx-fp32"].data
    if source == "file":
        (tmp_path / "net.onnx").write_bytes(given)  # type: ignore[arg-type]
        given = tmp_path / "net.onnx"
    done = edgeticket.quantize(given, torch.from_numpy(x), settings={"ranges": "mse"})
    files = edgeticket.convert(done.float_graph) | edgeticket.convert(done.graph)
    assert set(files) == {
        *("onnx-fp32", "tflite-fp32", "onnx-int8-s8", "onnx-int8-u8", "tflite-int8")
    }
    wanted = module(torch.from_numpy(x[:1])).detach().numpy()
    for kind, converted in files.items():
        runtime = "ort" if kind.startswith("onnx") else "tflite"
        session = get_runtime(runtime).load(converted.data, threads=1, place=kind)
        one = x[:1].transpose(0, 2, 3, 1) if converted.input.layout == "NHWC" else x[:1]
        scale, zero = converted.input.scale, converted.input.zero_point
        if scale is not None and zero is not None:
            limits = np.iinfo(converted.input.dtype)
            one = np.clip(np.rint(one / scale) + zero, limits.min, limits.max)
        (answer,) = np.asarray(session.run(one.astype(converted.input.dtype)), dtype=np.float32)
        if converted.output.scale is not None and converted.output.zero_point is not None:
            answer = (answer - converted.output.zero_point) * converted.output.scale
        assert np.abs(answer - wanted).max() < (0.1 if scale is not None else 1e-4), kind


@pytest.mark.parametrize(
    ("call", "kind", "part"),
    [
        (lambda: edgeticket.read_recipe("nonsense"), "RecipeError", "ready: "),
        (lambda: edgeticket.run("demo", overrides=["x=1"]), "RecipeError", "unknown key"),
        (lambda: edgeticket.convert(b"no"), "ConversionError", "no whole ONNX file"),
        (lambda: edgeticket.convert("absent.onnx"), "ConversionError", "absent.onnx"),
        (lambda: edgeticket.quantize(network(), []), "InputError", "inputs: there are none"),
        (lambda: edgeticket.quantize(network(), np.zeros((2, 3))), "InputError", "float64"),
        (
            lambda: edgeticket.quantize(network(), inputs(2), settings={"range": "mse"}),
            "RecipeError",
            "did you mean ranges?",
        ),
        (
            lambda: edgeticket.quantize(nn.Sequential(nn.LSTM(3, 3)), inputs(2)),
            "ConversionError",
            "LSTM",
        ),
        (lambda: edgeticket.bench("absent", on=["local"]), "InputError", "absent"),
        (lambda: edgeticket.inspect("resnet21"), "InputError", "resnet21"),
        (lambda: edgeticket.compare("absent.json", "b.json"), "InputError", "absent.json"),
    ],
)
def test_what_can_be_mended_has_its_class_and_one_sentence(call: Any, kind: str, part: str) -> None:
    with pytest.raises(edgeticket.InputError, match=part) as caught:
        call()
    assert type(caught.value) is getattr(edgeticket, kind)
    assert "\n" not in str(caught.value)


def test_a_device_that_cannot_be_reached_is_a_device_error(tmp_path: Path) -> None:
    x = tmp_path / "x.npy"
    np.save(x, inputs(4))
    np.save(tmp_path / "y.npy", np.arange(4))
    (tmp_path / "n.onnx").write_bytes(
        edgeticket.convert(edgeticket.quantize(network(), inputs()).float_graph)["onnx-fp32"].data
    )
    bundle_foreign(
        [tmp_path / "n.onnx"],
        samples=x,
        labels=tmp_path / "y.npy",
        names=None,
        mean=[],
        std=[],
        layout=None,
        out=tmp_path / "bundle",
    )
    with pytest.raises(edgeticket.DeviceError, match=r"127\.0\.0\.1"):
        edgeticket.bench(tmp_path / "bundle", on=["ssh://nobody@127.0.0.1:1"], out=tmp_path / "r")


def test_a_recipe_that_was_read_can_be_run_without_its_file() -> None:
    recipe = edgeticket.read_recipe("demo", overrides=["train.epochs=2"])
    assert recipe.train is not None
    assert recipe.train.epochs == 2
    with pytest.raises(edgeticket.InputError, match="overrides"):
        edgeticket.run(recipe, overrides=["train.epochs=3"])


@pytest.mark.parametrize(
    ("command", "module"),
    [
        *(("run", "recipes"), ("sensitivity", "recipes"), ("bench", "devices")),
        *(("compare", "compare"), ("inspect", "models"), ("diff", "diff"), ("why", "why")),
        ("history", "history"),
    ],
)
def test_a_command_parses_calls_and_prints(command: str, module: str) -> None:
    """Of the program it imports the API, and what parses and prints."""
    tree = ast.parse((ROOT / f"pipeline/commands/{module}.py").read_text())
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == command)
    imported = {
        node.module for node in ast.walk(function) if isinstance(node, ast.ImportFrom)
    }  # fmt: skip
    assert imported <= {
        "edgeticket.device_runner.atomic",
        "edgeticket.device_runner.strict_json",
        "edgeticket.pipeline.diff.table",
        "edgeticket.pipeline.diff.node_data",
        "edgeticket.pipeline.why.table",
        "edgeticket.pipeline.history.table",
        "edgeticket.pipeline.output_folder",
        *(f"edgeticket.pipeline.page.{name}" for name in ("file", "render", "sources")),
        "edgeticket.pipeline.compare.formats",
        "edgeticket.pipeline.devices.bench",  # what a page of a fleet is made of
        "edgeticket.pipeline.devices.connection",
    }
    calls = [
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "edgeticket"
    ]
    assert calls == [command]
