"""Times of layers beside their errors, as text whatever the diff says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runner_fixtures import layer_report, write_tiny_bundle

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.layers.report import read_layers
from edgeticket.pipeline.diff.layer_times import LayerError, joined, print_layers, read_errors


def diff_file(folder: Path, *layers: dict[str, Any], artifact: str = "tiny-tflite-int8") -> Path:
    file = folder / "diff.json"
    file.write_text(json.dumps({"artifacts": [{"artifact": artifact, "layers": layers}]}))
    return file


def layer(name: str, value: str, largest: float | None, *, over: bool = False) -> dict[str, Any]:
    own = {"max": largest, "mean": 0.0, "equal": 0.75, "cosine": 1.0, "relative": 0.0}
    return {"name": name, "value": value, "codes": True, "own": own, "over": over}


def printed(*timed: Any) -> str:
    stream = io.StringIO()
    print_layers(timed, Console(file=stream, width=120))
    return stream.getvalue()


def test_a_layer_is_found_by_its_step_or_by_its_value(tmp_path: Path) -> None:
    file = diff_file(tmp_path, layer("conv", "relu", 2.0, over=True), layer("head", "output", 0.0))
    timed = joined(layer_report(), read_errors(file))
    assert timed.errors == {
        "conv": LayerError(True, 2.0, 0.75, True),
        "output": LayerError(True, 0.0, 0.75, False),
    }
    text = printed(timed)
    row = next(line for line in text.splitlines() if line.split()[:1] == ["conv"])
    assert row.split() == [
        "conv",
        "CONV_2D",
        "int8",
        "XNNPACK",
        "1.5",
        "75.0%",
        "2",
        "LSB",
        "75.00%",
    ]
    assert "sum" in text
    assert "the diff says nothing" not in text


def test_what_the_diff_does_not_have_has_no_error(tmp_path: Path) -> None:
    timed = joined(layer_report(), read_errors(diff_file(tmp_path, layer("conv", "relu", None))))
    text = printed(timed)
    assert timed.unmatched == 1
    assert "nan LSB" in text
    assert "the diff says nothing of 1 of these layers" in text
    assert "own max" not in printed(joined(layer_report(), None))


def test_a_diff_of_other_artifacts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the diff has no tiny-tflite-int8 \(it has: other\)"):
        joined(layer_report(), read_errors(diff_file(tmp_path, artifact="other")))


OWN_IN_WORDS = {"name": "n", "value": "v", "codes": 1, "own": {"max": "x", "equal": 1}, "over": 1}


@pytest.mark.parametrize(
    "document",
    [
        {}, [], 3, {"artifacts": 3}, {"artifacts": [[]]},
        {"artifacts": [{"artifact": "a", "layers": [{}]}]},
        {"artifacts": [{"artifact": "a", "layers": [OWN_IN_WORDS]}]},
    ],
)  # fmt: skip
def test_what_is_no_diff_is_a_sentence(document: Any, tmp_path: Path) -> None:
    (tmp_path / "diff.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="is no JSON of `edgeticket diff --json`"):
        read_errors(tmp_path / "diff.json")


def test_names_are_text(tmp_path: Path) -> None:
    report = layer_report()
    hostile = replace(report.layers[0], name="[bold]x[/nothing]\x1b[31m", kind="[/]")
    text = printed(joined(replace(report, layers=(hostile,)), None))
    assert "[bold]x[/nothing]" in text
    assert "\x1b" not in text


def test_on_a_target_and_from_python(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    file = diff_file(tmp_path, layer("output", "output", 1.0))
    (timed,) = edgeticket.layers(
        bundle,
        on="local",
        artifacts=["tiny-tflite-int8"],
        diff=file,
        out=tmp_path / "out",
        options=["--rounds", "2", "--turn-ms", "0.2"],
    )
    assert read_layers(tmp_path / "out" / "tiny-tflite-int8.json") == timed.report
    assert timed.report.layers
    assert timed.report.artifact.id == "tiny-tflite-int8"
    with pytest.raises(InputError, match="no artifact 'nothing'"):
        edgeticket.layers(bundle, artifacts=["nothing"])
