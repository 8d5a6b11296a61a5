"""Ready recipes of tasks, at a tiny size: from nothing to reports of equal int8 files."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeticket
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.unavailable import Unavailable

# Recipe -> what makes it small, and its task and headline metric.
READY: dict[str, tuple[dict[str, object], str, str]] = {
    "motions_gru": ({}, "classes", "top1"),
    "digit_anomaly": ({}, "anomaly", "auc"),
    "digit_masks": ({"data.train": 32}, "masks", "miou"),
    "digit_boxes": ({"data.train": 32}, "boxes", "map"),
    "super_resolution": ({"data.train": 32}, "images", "psnr_db"),
}
QUICK = {
    "bench.min_seconds": 0.0,
    "bench.min_queries": 5,
    "bundle.samples": 20,
    "data.test": 20,
    "data.validation": 20,
    "data.calibration": 20,
}


def run(name: str, out: Path) -> dict[str, Report]:
    small = READY[name][0] | QUICK
    recipe = edgeticket.read_recipe(name)
    for place, _ in recipe.trainings():
        small |= {f"{place}.epochs": 1}
    overrides = [f"{key}={value}" for key, value in small.items()]
    edgeticket.run(name, out=out, overrides=overrides)
    return {path.stem: read_report(path) for path in (out / name / "reports").glob("*.json")}


@pytest.mark.parametrize("name", READY)
def test_a_ready_recipe_ends_in_equal_int8_files(name: str, tmp_path: Path) -> None:
    _, task, headline = READY[name]
    reports = run(name, tmp_path)
    assert {"dense-onnx-fp32", "dense-tflite-fp32"} < set(reports)
    rounded = [report for artifact, report in reports.items() if "int8" in artifact]
    assert len(rounded) == 2
    for report in rounded:
        assert not isinstance(report.fidelity, Unavailable)
        for pair in report.fidelity.between:
            for output in pair.outputs:
                assert output.largest_step is not None
                assert output.largest_step <= 1
    with open_bundle(tmp_path / name / "bundle") as bundle:
        manifest = bundle.manifest
    assert manifest.task.name == task
    for network in manifest.networks.values():
        assert headline in network.scores
