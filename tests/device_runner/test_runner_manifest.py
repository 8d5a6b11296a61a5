"""Manifests and reports: round trips, and parts that contradict one another."""

from __future__ import annotations

import errno
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import pytest
import runner_fixtures as tiny

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import (
    SCHEMA_VERSION,
    Artifact,
    Manifest,
    read_manifest,
    write_manifest,
)
from edgeticket.device_runner.report import Report, parse_report, read_report, write_report
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.unavailable import Unavailable

MANIFEST = tiny.tiny_manifest(tiny.tiny_files())
REPORT = tiny.example_report()


def test_manifest_round_trip_gives_the_same_value_and_bytes() -> None:
    data = write_manifest(MANIFEST)
    assert read_manifest(data) == MANIFEST
    assert write_manifest(read_manifest(data)) == data


def test_report_round_trip_gives_the_same_value_and_bytes(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "r.json")
    found = read_report(tmp_path / "r.json")
    assert found == REPORT
    assert found.cold.peak_rss_bytes == Unavailable("not on this machine")
    write_report(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.json", "r.json"]


def artifact(**changes: Any) -> Manifest:
    """The tiny manifest with its last artifact (tflite, int8) changed."""
    *others, last = MANIFEST.artifacts
    return replace(MANIFEST, artifacts=(*others, replace(last, **changes)))


def tensor(name: str, **changes: Any) -> Manifest:
    return artifact(**{f"{name}s": (replace(getattr(MANIFEST.artifacts[-1], name), **changes),)})


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (artifact(id="tiny-ort-fp32"), "the id 'tiny-ort-fp32' is given twice"),
        (artifact(file="models/none.tflite"), "file 'models/none.tflite' is not listed in files"),
        (artifact(network="other"), r"network 'other' is not in networks \(tiny\)"),
        (tensor("input", scale=None), "int8 needs a scale and a zero_point from -128 to 127"),
        (tensor("input", zero_point=200), "int8 needs a scale and a zero_point from -128 to 127"),
        (tensor("input", dtype="uint8"), "uint8 needs a scale and a zero_point from 0 to 255"),
        (tensor("input", dtype="float32"), "float32 has neither scale nor zero_point"),
        (tensor("input", shape=(2, 2, 2, 3)), "with a batch of 1"),
        (tensor("input", layout="NC"), "does not fit layout NC"),
        (tensor("input", scale=1e-40), "found 1e-40, allowed: 1e-20 or more"),
        (tensor("output", shape=(1, 8)), r"must be NC \[1, 7\], one value per label"),
        (
            replace(MANIFEST, files=(*MANIFEST.files, MANIFEST.files[0])),
            "the path 'models/ort-fp32.onnx' is given twice",
        ),
        (
            replace(MANIFEST, samples=replace(MANIFEST.samples, targets="labels.npy")),
            "samples: file 'labels.npy' is not listed",
        ),
        (
            replace(MANIFEST, schema_version=SCHEMA_VERSION + 1),
            "made by a newer edgeticket: upgrade the runner",
        ),
    ],
)
def test_contradictions_in_a_manifest_are_refused(manifest: Manifest, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_manifest(manifest)


@pytest.mark.parametrize(
    "path",
    ["/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "C:a", "a\x00b", "a\nb", "manifest.json"],
)
def test_paths_that_could_lead_elsewhere_are_refused(path: str) -> None:
    entry = replace(MANIFEST.files[0], path=path)
    with pytest.raises(InputError, match=r"is not allowed|lists manifest\.json"):
        write_manifest(replace(MANIFEST, files=(*MANIFEST.files, entry)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r["latency"].update(p50_ns=1), "the summary does not follow from samples_ns"),
        (lambda r: r["latency"].update(queries=71), "the summary does not follow"),
        (lambda r: r["latency"].update(p99_ns=5), "the summary does not follow"),
        (
            lambda r: r["accuracy"].update(count=5),
            "count is 5, but there are 4 predictions and 4 labels",
        ),
        (lambda r: r["accuracy"].update(predictions=[0, 1, 6, 7]), "class 7 is beyond the 7"),
        (lambda r: r["accuracy"].update(top1=0.5), "of which 3 in 4 are right"),
        (lambda r: r["accuracy"].update(labels=[0, 1, 6, 7]), "class 7 is beyond the 7"),
        (lambda r: r["session"].update(artifacts=["other"]), "was not part of the session"),
        (lambda r: r["runtime"].update(name="ort"), "cannot have run an artifact for tflite"),
        (lambda r: r.update(schema_version=9), "made by a newer edgeticket"),
    ],
)
def test_contradictions_in_a_report_are_refused(change: Any, sentence: str) -> None:
    document = tiny.to_document(REPORT)
    change(document)
    with pytest.raises(InputError, match=sentence):
        parse_report(format_json(document), place="r.json")


def test_fuzzed_reports_are_read_or_refused() -> None:
    rng, document, data = (
        random.Random(0),
        tiny.to_document(REPORT),
        format_json(tiny.to_document(REPORT)),
    )
    outcomes = {"read": 0, "refused": 0}
    damaged = [json.dumps(mutations.mutate_json(rng, document)).encode() for _ in range(300)]
    for mutate in mutations.MUTATIONS.values():
        damaged += [mutate(rng, data) for _ in range(150)]
    for text in damaged:
        try:
            report = parse_report(text, place="r.json")
        except InputError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert parse_report(format_json(tiny.to_document(report)), place="again") == report
    assert sum(outcomes.values()) == 600
    assert outcomes["refused"] > 400
    assert outcomes["read"] > 10


@pytest.mark.parametrize("name", ["missing.json", "folder", "a\x00b"])
def test_reports_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot read report"):
        read_report(tmp_path / name)


def test_a_report_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not part of the session"):
        write_report(replace(REPORT, session=replace(REPORT.session, artifacts=("x",))), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "r.json").write_bytes(b"old")
    monkeypatch.setattr("edgeticket.device_runner.atomic.os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*r\.json: No space left on device"):
        write_atomic(tmp_path / "r.json", b"new")
    assert (tmp_path / "r.json").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeticket.device_runner.atomic.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "r.json", b"new")
    assert os.listdir(tmp_path) == []


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot create the folder"):
            make_folder(path)
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path, b"x")


def test_a_measured_artifact_is_still_the_manifests() -> None:
    entry = MANIFEST.artifacts[3]
    assert isinstance(REPORT.artifact, Artifact)
    assert {k: v for k, v in vars(REPORT.artifact).items() if k in vars(entry)} == vars(entry)
    assert isinstance(REPORT, Report)
