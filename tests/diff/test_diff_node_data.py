"""Numbers on the graph: keys are tensors of the file, values what diff and layers found."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from diff_fixtures import write_small_bundle

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.diff.node_data import format_node_data, is_node_data
from edgeticket.pipeline.formats.tflite_model import name_of, parse_tflite


def test_diff_writes_a_file_for_each_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    words = ["diff", str(bundle), "--alone", "--samples", "2", "--node-data", "errors.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["edgeticket", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    with open_bundle(bundle) as opened:
        onnx_file = onnx.load_from_string(opened.read("artifacts/ort-int8.onnx"))
        lite = parse_tflite(opened.read("artifacts/tflite-int8.tflite"), place="lite")
    tensors = {
        "ort-int8": {name for node in onnx_file.graph.node for name in node.output},
        "tflite-int8": {name_of(tensor) for tensor in lite.subgraphs[0].tensors},
    }
    for artifact, names in tensors.items():
        data = (tmp_path / f"errors.{artifact}.json").read_bytes()
        results = json.loads(data)["results"]
        assert len(results) >= 8
        assert set(results) <= names | {"input"}
        assert all(set(result) == {"value"} for result in results.values())
        assert is_node_data(data)


def test_what_json_cannot_say_is_left_out() -> None:
    document = json.loads(format_node_data({"a": 1.5, "b": float("inf"), "c": float("nan")}))
    assert document["results"] == {"a": {"value": 1.5}}
    assert [stop["stop"] for stop in document["gradient"]] == [0, 1]
