"""Every task from end to end: files of both runtimes, a bundle, the runner, a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from runner_fixtures import QUICK
from task_networks import Case, make_case

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.report import (
    ColdStart,
    Report,
    TaskScores,
    Unlabelled,
    read_report,
    write_report,
)
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Limits, compare
from edgeticket.pipeline.external.asked import read_task
from edgeticket.pipeline.external.bundle import bundle_foreign

NAMES = [name for name in TASKS if name not in ("classes", "nothing")]


def make_bundle(case: Case, folder: Path, **keys: Any) -> Path:
    """Bundle the files of a case."""
    settings = folder / "settings.json"
    settings.write_bytes(format_json(dict(case.settings)))
    given: dict[str, Any] = {
        "samples": case.samples,
        "task": read_task(case.name, [str(settings)]),
        "targets": case.targets,
        **dict.fromkeys(("labels", "names", "layout")),
        "mean": [],
        "std": [],
        **keys,
    }
    bundle_foreign(case.models, out=folder / "bundle", **given)
    return folder / "bundle"


@pytest.fixture(scope="module", autouse=True)
def _warm() -> Iterator[None]:
    """Without cold starts, a process for each artifact, which other tests look at."""
    start = ColdStart(*[Unavailable("a test")] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeticket.device_runner.bench.measure_cold", lambda *a, **k: start)
        yield


@pytest.fixture(scope="module", params=NAMES)
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, Path, dict[str, Report]]:
    """A task, its bundle, and reports by artifact."""
    folder = tmp_path_factory.mktemp(request.param)
    case = make_case(request.param, folder)
    bundle = make_bundle(case, folder)
    reports = bench(bundle, plan=QUICK, outputs=folder / "outputs")
    return case, bundle, {report.artifact.id: report for report in reports}


def test_the_runner_computes_what_the_task_defines(
    measured: tuple[Case, Path, dict[str, Report]], tmp_path: Path
) -> None:
    case, bundle, reports = measured
    manifest = check_bundle(bundle)
    assert manifest.task.name == case.name
    assert len(reports) == len(case.models)
    task = TASKS[case.name]
    settings = task.settings.from_json(dict(case.settings))
    for name, report in reports.items():
        accuracy = report.accuracy
        assert isinstance(accuracy, TaskScores)
        outputs = np.load(bundle.parent / "outputs" / f"{name}.npy")
        spec = report.artifact.output
        if spec.scale is not None:
            assert spec.zero_point is not None
            zero_point = spec.zero_point - 128 * (spec.dtype == "uint8")
            outputs = ((outputs.astype(np.float64) - zero_point) * spec.scale).astype(np.float32)
        assert dict(accuracy.metrics) == task.score([outputs], case.arrays, settings)
        assert not isinstance(accuracy.score, Unavailable)
        write_report(report, tmp_path / "r.json")
        assert read_report(tmp_path / "r.json") == report


def test_both_runtimes_answer_alike_in_int8(
    measured: tuple[Case, Path, dict[str, Report]],
) -> None:
    _, _, reports = measured
    ort, lite = reports["onnx-int8-u8"], reports["tflite-int8"]
    assert ort.accuracy == lite.accuracy
    assert not isinstance(lite.fidelity, Unavailable)
    (between,) = lite.fidelity.between
    assert between.artifact == "onnx-int8-u8"
    assert [output.equal_share for output in between.outputs] == [1.0]
    floats = [reports[name].accuracy.score for name in ("onnx-fp32", "tflite-fp32")]
    assert floats[0] == pytest.approx(floats[1], rel=1e-3)


def test_comparisons_speak_the_task(measured: tuple[Case, Path, dict[str, Report]]) -> None:
    case, _, reports = measured
    before, after = reports["onnx-fp32"], reports["onnx-int8-u8"]
    found = compare(before, after, limits=Limits())
    headline = TASKS[case.name].headline
    assert found.measure == headline
    assert not isinstance(found.agreement, Unavailable)
    assert found.alike_of == case.count
    console = Console(width=100, record=True)
    found.print(console)
    assert headline in console.export_text()
    same = compare(before, before, limits=Limits())
    assert (same.agreement, same.drop_relative) == (1.0, 0.0)


def test_differing_answers_are_those_of_the_task(
    measured: tuple[Case, Path, dict[str, Report]],
) -> None:
    case, bundle, reports = measured
    task = TASKS[case.name]
    settings = task.settings.from_json(dict(case.settings))
    with open_bundle(bundle) as opened:
        references = opened.references("model-1")
    assert references is not None
    outputs = np.load(bundle.parent / "outputs" / "onnx-int8-u8.npy")
    spec = reports["onnx-int8-u8"].artifact.output
    assert spec.scale is not None
    assert spec.zero_point is not None
    zero_point = spec.zero_point - 128 * (spec.dtype == "uint8")
    real = ((outputs.astype(np.float64) - zero_point) * spec.scale).astype(np.float32)
    wanted = np.flatnonzero(~task.agree(references, [real], settings))
    fidelity = reports["onnx-int8-u8"].fidelity
    assert not isinstance(fidelity, Unavailable)
    assert fidelity.differing["model-1"] == tuple(wanted.tolist())


def test_a_task_without_targets_tells_agreement(tmp_path: Path) -> None:
    case = make_case("masks", tmp_path)
    bundle = make_bundle(case, tmp_path, targets=None)
    (report, *_) = bench(bundle, plan=QUICK, artifact="onnx-int8-u8")
    assert isinstance(report.accuracy, Unlabelled)
    assert not isinstance(report.fidelity, Unavailable)
    assert not isinstance(report.fidelity.agreement("model-1"), Unavailable)


def test_the_first_samples_alone(measured: tuple[Case, Path, dict[str, Report]]) -> None:
    case, bundle, _ = measured
    task = TASKS[case.name]
    settings = task.settings.from_json(dict(case.settings))
    (report,) = bench(bundle, plan=QUICK, artifact="onnx-fp32", samples=7)
    assert isinstance(report.accuracy, TaskScores)
    outputs = np.load(bundle.parent / "outputs" / "onnx-fp32.npy")[:7]
    first = task.take_first(case.arrays, 7)
    assert dict(report.accuracy.metrics) == task.score([outputs], first, settings)
