"""`edgeticket diff --on`: a device taps its layers, and they are compared with this machine's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from diff_fixtures import write_small_bundle, wrong_weight_scale

from edgeticket.pipeline.cli import main


def diff(*words: str | Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["edgeticket", "diff", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_device_is_tapped_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_small_bundle(tmp_path / "b", {"tflite-int8": wrong_weight_scale("wide")})
    target, file = f"local:{tmp_path}/home", tmp_path / "found.json"
    words = [bundle, "--on", target, "--alone", "--samples", 3, "--json", file]
    assert diff(*words, monkeypatch=monkeypatch) == 1
    found = json.loads(file.read_text())
    # The reference is the ONNX file, which is right; the device has what this machine has.
    assert found["first_over"] == {"ort-int8": None, "tflite-int8": "wide"}
    for artifact in found["artifacts"]:
        assert artifact["running_against"] == "this machine"
        assert all(layer["running"]["equal"] == 1 for layer in artifact["layers"])


def test_what_cannot_run_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    assert diff(bundle, "--on", "moon", "--alone", monkeypatch=monkeypatch) == 2
    assert "'moon' is no target" in capsys.readouterr().err
    words = [bundle, "--on", "local", "--taps", tmp_path / "x.npz"]
    assert diff(*words, monkeypatch=monkeypatch) == 2
    assert "give one of them" in capsys.readouterr().err
