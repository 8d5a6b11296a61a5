"""The command: exit codes, JSON, remedies as lines, and remedies that are tried."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from diff_fixtures import write_small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from why_fixtures import clip_range, files, pixels, quantised, write

import edgeticket
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import main
from edgeticket.pipeline.why.finding import Change, Remedy
from edgeticket.pipeline.why.remedy import overrides, yaml_lines

CLIPPING = """
name: clipping
data: {name: digits, train: 100, validation: 50, calibration: 40, test: 50}
model: {arch: lenet5}
train: {epochs: 1, batch_size: 50, lr: 0.01}
compress: [{method: ptq, ranges: percentile, percentile: 75}]
bench: {min_seconds: 0, min_queries: 1}
"""


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["edgeticket", "why", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why")
    made = quantised("layers")
    for kind, data in files(made).items():
        write(folder, f"{kind}.{kind.partition('-')[0]}", data)
    value = next(n for n, v in made.graph.values.items() if v.quantization and "relu" in n)
    bad = edgeticket.convert(clip_range(made.graph, value, 0.3), kinds=["tflite-int8"])
    write(folder, "bad.tflite", bad["tflite-int8"].data)
    write(folder, "x.npy", pixels("layers"))
    return folder


def test_exit_codes_and_json(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    good = call(monkeypatch, "onnx-fp32.onnx", "tflite-int8.tflite", "--samples", "x.npy")
    assert good == 0
    assert "Nothing was found" in capsys.readouterr().out
    bad = ("onnx-fp32.onnx", "bad.tflite", "--samples", "x.npy")
    assert call(monkeypatch, *bad, "--json", "why.json") == 1
    assert "ranges: minmax" in capsys.readouterr().out
    document = json.loads((place / "why.json").read_text())
    (finding,) = document["findings"]
    assert finding["cause"] == "range clipped"
    assert finding["remedy"]["recipe"] == ["compress:", "- method: ptq", "  ranges: minmax"]
    assert document["exit_code"] == 1
    # Noise says nothing of ranges, and the answer says so.
    assert call(monkeypatch, "onnx-fp32.onnx", "tflite-int8.tflite") in (0, 1)
    for words in (
        ("onnx-fp32.onnx", "absent.tflite"),
        ("nonsense", "bad.tflite"),
        ("bundle:nothing", "bad.tflite"),
        (*bad, "--apply"),
    ):
        assert call(monkeypatch, *words) == 2, words
        assert "Traceback" not in capsys.readouterr().err


def test_artifacts_of_a_bundle(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    answer, _ = edgeticket.why(f"{bundle}:ort-int8", f"{bundle}:tflite-int8", count=6)
    assert (answer.findings, answer.parted, answer.samples) == ((), None, 6)
    assert not answer.drawn
    manifest = json.loads((bundle / "manifest.json").read_text())
    other = write_small_bundle(tmp_path / "c")
    manifest["inputs"][0]["preprocessing"][0]["mean"] = [120.0, 127.5, 127.5]
    (other / "manifest.json").write_text(json.dumps(manifest))
    answer, _ = edgeticket.why(f"{bundle}:ort-int8", f"{other}:tflite-int8", count=6)
    assert [str(f.cause) for f in answer.findings] == ["preprocessing or layout mismatch"]
    assert answer.findings[0].evidence["largest_difference"] == pytest.approx(7.5 / 64)


def test_samples_of_another_shape_are_refused(place: Path, tmp_path: Path) -> None:
    x = write(tmp_path, "x.npy", np.zeros((3, 7), np.float32))
    with pytest.raises(InputError, match=r"samples have \[7\]"):
        edgeticket.why(place / "onnx-fp32.onnx", place / "tflite-int8.tflite", samples=x)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["mse", "minmax", "percentile"]), st.integers(0, 3))
def test_what_is_set_is_what_changes(ranges: str, before: int) -> None:
    passes = [{"method": "finetune"}] * before + [{"method": "ptq", "ranges": ranges}]
    told = overrides([Change(("ptq",), "ranges", "minmax")], {"compress": passes})
    assert told == ([] if ranges == "minmax" else [f"compress.{before}.ranges=minmax"])
    lines = yaml_lines(Remedy("", (Change((), "bundle.tensorrt", True),)))
    assert yaml.safe_load("\n".join(lines)) == {"bundle": {"tensorrt": True}}


def test_a_remedy_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "clipping.yaml"
    recipe.write_text(CLIPPING)
    edgeticket.run(recipe, data=tmp_path / "data")
    name = next(p.stem for p in (tmp_path / "runs/clipping/reports").glob("*tflite-int8.json"))
    answer, applied = edgeticket.why(
        recipe,
        f"runs/clipping:{name}",
        apply=True,
        out=tmp_path / "tried",
        data=tmp_path / "data",
    )
    assert {str(f.cause) for f in answer.findings} == {"range clipped"}
    assert applied is not None
    assert applied.overrides == ("compress.0.ranges=minmax",)
    assert recipe.read_text() == CLIPPING
    before, after = (
        {m.artifact: m for m in side}[name] for side in (applied.before, applied.after)
    )
    assert isinstance(after.sqnr_db, float)
    assert isinstance(before.sqnr_db, float)
    assert after.sqnr_db > before.sqnr_db + 6
    mended, _ = edgeticket.why(tmp_path / "runs/clipping", f"tried/after/clipping:{name}")
    assert mended.findings == ()
