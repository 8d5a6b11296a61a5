"""Formats as bytes: a change here is a change that devices in the field will see.

If it is wanted, raise the format's version where one exists and run tests/golden/make.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_fixtures import (
    example_report,
    layer_report,
    probe_report,
    sustained_report,
    tiny_files,
    tiny_manifest,
)
from speech_fixtures import speech_manifest, speech_report
from task_goldens import task_manifest, task_report, task_targets

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import Fidelity
from edgeticket.device_runner.layers.report import read_layers, write_layers
from edgeticket.device_runner.manifest import Manifest, read_manifest, write_manifest
from edgeticket.device_runner.npz import parse_npz
from edgeticket.device_runner.probes.report import read_probes, write_probes
from edgeticket.device_runner.report import Report, TaskScores, parse_report, read_report
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.strict_json import format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.convert.targets import TARGETS

GOLDEN = Path(__file__).parent / "golden"


def test_manifest() -> None:
    manifest = tiny_manifest(tiny_files())
    data = (GOLDEN / "manifest.json").read_bytes()
    assert write_manifest(manifest) == data
    assert read_manifest(data) == manifest


def test_report() -> None:
    report = example_report()
    assert read_report(GOLDEN / "report.json") == report
    assert format_json(to_json(report)) == (GOLDEN / "report.json").read_bytes()


def test_sustained() -> None:
    report = sustained_report()
    assert read_report(GOLDEN / "report-sustained.json") == report
    assert format_json(to_json(report)) == (GOLDEN / "report-sustained.json").read_bytes()


def test_probes_and_layers(tmp_path: Path) -> None:
    probes, layers = probe_report(), layer_report()
    assert read_probes(GOLDEN / "probes.json") == probes
    assert read_layers(GOLDEN / "layers.json") == layers
    write_probes(probes, tmp_path / "probes.json")
    write_layers(layers, tmp_path / "layers.json")
    for name in ("probes.json", "layers.json"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", ["report", "report-speech", "report-task"])
def test_reports_of_version_6_are_read(name: str) -> None:
    today, old = read_report(GOLDEN / f"{name}.json"), read_report(GOLDEN / f"v6-{name}.json")
    assert isinstance(old.sustained, Unavailable)
    assert without_draws(old) == without_draws(replace(today, sustained=old.sustained))


@pytest.mark.parametrize("name", ["report", "report-speech", "report-task", "report-sustained"])
def test_reports_of_version_7_are_read(name: str) -> None:
    today, old = read_report(GOLDEN / f"{name}.json"), read_report(GOLDEN / f"v7-{name}.json")
    assert without_draws(old) == without_draws(today)
    if isinstance(old.accuracy, TaskScores):
        assert old.accuracy.resampled == Unavailable(
            "the report is of version 7 or older, which does not tell it"
        )


def without_draws(report: Report) -> Report:
    if not isinstance(report.accuracy, TaskScores):
        return report
    return replace(report, accuracy=replace(report.accuracy, resampled=Unavailable("left out")))


def test_transcription() -> None:
    manifest, report = speech_manifest(), speech_report()
    assert write_manifest(manifest) == (GOLDEN / "manifest-speech.json").read_bytes()
    assert read_manifest((GOLDEN / "manifest-speech.json").read_bytes()) == manifest
    assert read_report(GOLDEN / "report-speech.json") == report
    assert format_json(to_json(report)) == (GOLDEN / "report-speech.json").read_bytes()


def test_tasks() -> None:
    manifest, report = task_manifest(), task_report()
    assert write_manifest(manifest) == (GOLDEN / "manifest-task.json").read_bytes()
    assert read_manifest((GOLDEN / "manifest-task.json").read_bytes()) == manifest
    assert (GOLDEN / "targets.npz").read_bytes() == task_targets()
    assert set(parse_npz(task_targets(), place="targets.npz")) == {"values"}
    assert read_report(GOLDEN / "report-task.json") == report
    assert format_json(to_json(report)) == (GOLDEN / "report-task.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.update(headline="rmse"), "the task numbers has the headline mae"),
        (lambda a: a["metrics"].pop("r2"), "has the headline mae of mae, rmse, r2"),
        (lambda a: a["metrics"].update(mae=0.5), "mae: 0.5 does not follow"),
        (lambda a: a["per_sample"]["values"].pop(), "3 values and 4 weights"),
        (lambda a: a["sample_crc32"].pop(), "count is 4, but there are 3 check sums"),
        (lambda a: a.update(task="mask"), "did you mean masks"),
        (lambda a: a.update(settings={"absolute": -1}), "absolute"),
        (lambda a: a["per_sample"].update(weights=[0, 0, 0, 0]), "does not follow"),
    ],
)
def test_reports_of_tasks_that_contradict_themselves(
    change: Callable[[Any], Any], sentence: str
) -> None:
    document = parse_json((GOLDEN / "report-task.json").read_bytes(), place="golden")
    change(document["accuracy"])
    with pytest.raises(InputError, match=sentence):
        parse_report(format_json(document), place="r.json")


@pytest.mark.parametrize("name", ["manifest", "manifest-speech"])
def test_manifests_of_version_4_are_read(name: str) -> None:
    """They had one input, one output, and no references; nothing else is another."""
    today = read_manifest((GOLDEN / f"{name}.json").read_bytes())
    old = read_manifest((GOLDEN / f"v4-{name}.json").read_bytes())
    later = ("references/", "proof/")
    files = tuple(entry for entry in today.files if not entry.path.startswith(later))
    assert old == replace(today, references=None, proof=None, files=files)


@pytest.mark.parametrize("name", ["report", "report-speech"])
def test_reports_of_version_4_are_read(name: str) -> None:
    today, old = read_report(GOLDEN / f"{name}.json"), read_report(GOLDEN / f"v4-{name}.json")
    assert isinstance(old.fidelity, Unavailable)
    assert old == replace(
        today, fidelity=old.fidelity, placement=old.placement, sustained=old.sustained
    )


@pytest.mark.parametrize("name", ["manifest", "manifest-speech"])
def test_manifests_of_version_5_are_read(name: str) -> None:
    """Version 6 can say more, and says what version 5 could in the same way."""
    today = read_manifest((GOLDEN / f"{name}.json").read_bytes())
    assert read_manifest((GOLDEN / f"v5-{name}.json").read_bytes()) == without_proof(today)


@pytest.mark.parametrize("name", ["manifest", "manifest-speech", "manifest-task"])
def test_manifests_of_version_6_are_read(name: str) -> None:
    """They promised nothing."""
    today = read_manifest((GOLDEN / f"{name}.json").read_bytes())
    assert read_manifest((GOLDEN / f"v6-{name}.json").read_bytes()) == without_proof(today)


def without_proof(manifest: Manifest) -> Manifest:
    files = tuple(entry for entry in manifest.files if not entry.path.startswith("proof/"))
    return replace(manifest, proof=None, files=files)


@pytest.mark.parametrize("name", ["report", "report-speech"])
def test_reports_of_version_5_are_read(name: str) -> None:
    today, old = read_report(GOLDEN / f"{name}.json"), read_report(GOLDEN / f"v5-{name}.json")
    assert old == replace(today, fidelity=old.fidelity, sustained=old.sustained)
    if not isinstance(today.fidelity, Unavailable):
        assert isinstance(old.fidelity, Fidelity)
        assert old.fidelity.differing == {}
        for now, then in zip(today.fidelity.outputs, old.fidelity.outputs, strict=True):
            assert isinstance(then.largest_step, Unavailable)
            assert (then.sqnr_db, then.changed) == (now.sqnr_db, now.changed)


@pytest.mark.parametrize("kind", TARGETS)
def test_converted_files(kind: str) -> None:
    source = "network-qdq.onnx" if "int8" in kind else "network.onnx"
    suffix = "onnx" if kind.startswith("onnx") else "tflite"
    golden = (GOLDEN / f"{kind}.{suffix}").read_bytes()
    assert TARGETS[kind].convert((GOLDEN / source).read_bytes()).data == golden


def test_the_golden_int8_files_still_give_equal_codes() -> None:
    codes = np.random.default_rng(0).integers(-128, 128, (50, 1, 6, 6)).astype(np.int8)
    lite = get_runtime("tflite").load(
        (GOLDEN / "tflite-int8.tflite").read_bytes(), threads=1, place="golden"
    )
    ort = get_runtime("ort").load(
        (GOLDEN / "onnx-int8-u8.onnx").read_bytes(), threads=1, place="golden"
    )
    for code in codes[:, np.newaxis]:
        unsigned = (code.astype(np.int16) + 128).astype(np.uint8)
        from_ort = ort.run(unsigned).astype(np.int16) - 128
        from_lite = lite.run(np.ascontiguousarray(code.transpose(0, 2, 3, 1)))
        np.testing.assert_array_equal(from_ort, from_lite)
