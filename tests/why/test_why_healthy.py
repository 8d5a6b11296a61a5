"""Pairs without a fault: nothing is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_fixtures import export_onnx
from page_fixtures import report_of
from why_fixtures import files, network, pixels, quantised, write

import edgeticket
from edgeticket.device_runner.placement import RAN, placement_of
from edgeticket.device_runner.report import write_report
from edgeticket.pipeline.why.table import verdict

PAIRS = [
    ("small", "onnx-fp32", "tflite-fp32"),
    ("small", "onnx-fp32", "onnx-int8-u8"),
    ("small", "onnx-fp32", "tflite-int8"),
    ("small", "onnx-int8-u8", "tflite-int8"),
    ("small", "tflite-fp32", "tflite-int8"),
    ("chain", "onnx-fp32", "onnx-int8-u8"),
    ("chain", "tflite-int8", "onnx-int8-u8"),
    ("chain", "onnx-fp32", "tflite-int8"),
    ("layers", "onnx-fp32", "tflite-int8"),
    ("layers", "onnx-fp32", "onnx-int8-u8"),
]


@pytest.mark.parametrize(("name", "first", "second"), PAIRS)
def test_nothing_is_found(name: str, first: str, second: str, tmp_path: Path) -> None:
    made = files(quantised(name))
    paths = [
        write(tmp_path, f"{side}.{kind.partition('-')[0]}", made[kind])
        for side, kind in (("a", first), ("b", second))
    ]
    x = pixels(name, seed=9)
    if first.startswith("tflite") and x.ndim == 4:
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    answer, _ = edgeticket.why(*paths, samples=write(tmp_path, "x.npy", x))
    assert answer.findings == ()
    assert answer.parted is None
    assert answer.exit_code == 0
    # Every layer was looked at, not the ends alone.
    assert len(answer.layers) >= {"small": 8, "chain": 4, "layers": 3}[name]


@pytest.mark.parametrize("kind", ["onnx-fp32", "tflite-int8"])
def test_nor_in_pytorchs_own_file_beside_ours(kind: str, tmp_path: Path) -> None:
    source = export_onnx(network("chain"), torch.zeros(1, 3, 8, 8))
    a = write(tmp_path, "a.onnx", source)
    b = write(tmp_path, f"b.{kind.partition('-')[0]}", files(quantised("chain"))[kind])
    answer, _ = edgeticket.why(a, b, samples=write(tmp_path, "x.npy", pixels("chain", seed=8)))
    assert (answer.findings, answer.parted) == ((), None)
    assert len(answer.layers) >= 4


def test_nor_in_two_reports_of_one_board(tmp_path: Path) -> None:
    on_cpu = placement_of({"CPU": 3}, asked=["CPU"], counted=RAN)
    for name, seed in (("a", 1), ("b", 2)):
        write_report(replace(report_of(seed=seed), placement=on_cpu), tmp_path / f"{name}.json")
    answer, _ = edgeticket.why(tmp_path / "a.json", tmp_path / "b.json")
    assert answer.exit_code == 0
    assert "were not compared" in verdict(answer)
