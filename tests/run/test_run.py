"""The whole pipeline on a small recipe: what it leaves, that it resumes, that it repeats itself."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from process_fixtures import running

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.pipeline.diff import Bounds, Diff
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import Recipe, read_recipe
from edgeticket.pipeline.reference.diff import diff_bundle
from edgeticket.pipeline.run.pipeline import run
from edgeticket.pipeline.run.summary import Summary

SMALL = """
name: small
data: {name: digits, train: 600, validation: 200, calibration: 64, test: 300}
model: {arch: digits_cnn, args: {width: 16}}
train: {epochs: 6, batch_size: 32, lr: 0.05}
compress:
  - method: stochastic_gates
    budget: {macs: 0.5}
    train: {epochs: 2, batch_size: 32, lr: 0.02, warmup: 0.0}
  - method: finetune
    train: {epochs: 2, batch_size: 32, lr: 0.02}
  - method: ptq
bench: {min_seconds: 0.05, min_queries: 70}
"""

ARTIFACTS = {
    "dense-onnx-fp32", "dense-tflite-fp32", "ticket-onnx-fp32", "ticket-tflite-fp32",
    "ticket-onnx-int8-s8", "ticket-onnx-int8-u8", "ticket-tflite-int8",
}  # fmt: skip


def small_recipe(folder: Path, *overrides: str) -> Recipe:
    path = folder / "small.yaml"
    path.write_text(SMALL)
    return read_recipe(path, overrides)


def carry_out(recipe: Recipe, out: Path) -> Summary:
    return run(
        recipe,
        recipe_folder=out,
        out=out,
        data_folder=out / "data",
        remeasure=False,
        progress=QUIET,
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def summary(out: Path) -> Summary:
    return carry_out(small_recipe(out), out)


def digests(out: Path) -> dict[str, str]:
    files = sorted((out / "small" / "bundle").rglob("*"))
    return {
        str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file()
    }


def test_it_leaves_bundle_zip_reports_and_summary(out: Path, summary: Summary) -> None:
    folder = out / "small"
    assert sorted(f.name for f in folder.iterdir()) == [
        ".edgeticket.json", "bom.cdx.json", "bundle", "bundle.zip", "model-card.md", "recipe.yaml",
        "reference", "report.html", "reports", "summary.json", "summary.md",
    ]  # fmt: skip
    with open_bundle(folder / "bundle") as bundle, open_bundle(folder / "bundle.zip") as zipped:
        assert {a.id for a in bundle.manifest.artifacts} == ARTIFACTS
        assert zipped.digest == bundle.digest
        for file in bundle.manifest.files:
            assert zipped.read(file.path) == bundle.read(file.path)
        inputs, labels = bundle.samples()
        assert inputs.shape == (300, 28, 28, 1)
        assert np.bincount(labels, minlength=10).min() >= 25
    reports = [read_report(file) for file in (folder / "reports").iterdir()]
    assert len({report.session.id for report in reports}) == 1
    # the int8 ONNX file for the other kind of processor is carried, but not measured here
    assert len(reports) == len(ARTIFACTS) - 1
    assert not [f for f in out.iterdir() if f.name.endswith((".partial", ".old"))]


def test_the_ticket_is_slim_and_in_budget(summary: Summary) -> None:
    rows = {row.artifact: row for row in summary.rows}
    dense, ticket = rows["dense-onnx-fp32"], rows["ticket-tflite-int8"]
    assert ticket.macs <= 0.5 * dense.macs * 1.05
    assert ticket.parameters < dense.parameters
    assert rows["dense-tflite-fp32"].size_bytes > 5 * ticket.size_bytes


def test_torch_and_both_runtimes_agree(summary: Summary) -> None:
    rows = {row.artifact: row for row in summary.rows}
    for network in ("dense", "ticket"):
        for runtime in ("onnx", "tflite"):
            row = rows[f"{network}-{runtime}-fp32"]
            assert row.score == pytest.approx(summary.torch_scores[network], abs=0.0035)
    int8 = [row.score for row in summary.rows if row.precision == "int8"]
    assert len(int8) == 2
    assert min(int8) > 0.5
    assert max(int8) - min(int8) <= 0.01


def test_the_summary_tells_the_same_in_json_and_markdown(out: Path, summary: Summary) -> None:
    document = json.loads((out / "small" / "summary.json").read_text())
    markdown = (out / "small" / "summary.md").read_text()
    assert [row["artifact"] for row in document["rows"]] == [r.artifact for r in summary.rows]
    for row in summary.rows:
        assert f"| {row.artifact} |" in markdown
        assert f"| {row.size_bytes / 1000:,.0f} |" in markdown
    assert [step["step"] for step in document["steps"]] == [
        "train", "stochastic_gates", "finetune", "ptq",
    ]  # fmt: skip


def test_a_second_run_reuses_everything_and_changes_nothing(out: Path, summary: Summary) -> None:
    before, stages = digests(out), sorted((out / ".stages").iterdir())
    again = carry_out(small_recipe(out), out)
    assert again == summary
    assert digests(out) == before
    assert sorted((out / ".stages").iterdir()) == stages


def test_a_change_redoes_only_what_depends_on_it(out: Path, summary: Summary) -> None:
    def made(name: str) -> set[str]:
        return {f.name for f in (out / ".stages").glob(f"{name}-*[0-9a-f]")}

    trained, tickets, tuned = made("train"), made("stochastic_gates"), made("finetune")
    changed = carry_out(small_recipe(out, "compress.1.train.lr=0.01", "name=changed"), out)
    assert (made("train"), made("stochastic_gates")) == (trained, tickets)
    assert len(made("finetune")) == len(tuned) + 1
    assert changed.rows != summary.rows


# As many threads as this process has: sums in another order have other last bits.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "edgeticket.pipeline", "run", str(out / "small.yaml")),
        *("--out", str(out), "--data", str(out)),
    ]


def kill_and_resume(out: Path, *, moments: list[float]) -> None:
    for seconds in moments:
        with running(command(out), env=ENVIRONMENT, stdout=subprocess.DEVNULL):
            time.sleep(seconds)  # then it is killed, with all that it started
    subprocess.run(command(out), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def test_killed_runs_end_in_the_same_bytes(out: Path, summary: Summary, tmp_path: Path) -> None:
    """In processes of their own, so this also shows that a fresh process repeats the result."""
    small_recipe(tmp_path)
    kill_and_resume(tmp_path, moments=[6.0, 9.0, 7.5])
    assert digests(tmp_path) == digests(out)


@pytest.mark.slow
def test_the_demo_killed_at_ten_random_moments(tmp_path: Path) -> None:
    ready = Path(__file__).parents[2] / "pipeline" / "recipes" / "demo.yaml"
    text = ready.read_text().replace("name: demo", "name: small")
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    for folder in ("undisturbed", "killed"):
        (tmp_path / folder / "small.yaml").write_text(text)
    start = time.monotonic()
    subprocess.run(command(tmp_path / "undisturbed"), env=ENVIRONMENT, check=True)
    whole_s = time.monotonic() - start
    rng = random.Random(0)
    moments = [rng.uniform(3, whole_s / 3) for _ in range(10)]
    kill_and_resume(tmp_path / "killed", moments=moments)
    assert digests(tmp_path / "killed") == digests(tmp_path / "undisturbed")


def test_the_zip_is_reproducible(out: Path, summary: Summary) -> None:
    with zipfile.ZipFile(out / "small" / "bundle.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_layer_of_every_artifact_is_held_against_torch(summary: Summary, out: Path) -> None:
    def compare(*artifacts: str, alone: bool = False) -> Diff:
        return diff_bundle(
            out / "small",
            artifacts=artifacts,
            taps=[],
            samples=4,
            references=None,
            alone=alone,
            bounds=Bounds(),
            progress=QUIET,
        )

    integer = compare()
    assert {a.artifact for a in integer.artifacts} == {n for n in ARTIFACTS if "int8" in n}
    assert {a.reference for a in integer.artifacts} == {"torch, fake-quantised"}
    real = compare("dense-tflite-fp32", "ticket-onnx-fp32")
    assert {a.reference for a in real.artifacts} == {"torch, float32"}
    assert all(len(a.layers) > 4 and not a.only_here for a in integer.artifacts + real.artifacts)
    assert integer.is_within
    assert real.is_within
    assert {a.reference for a in compare(alone=True).artifacts} == {
        "ticket-onnx-int8-s8 as written"
    }
    other = {"bundle": "0" * 64}
    record = out / "small" / "reference" / "reference.json"
    kept = record.read_bytes()
    record.write_text(json.dumps(other))
    with pytest.raises(InputError, match="belongs to another bundle"):
        compare()
    record.write_bytes(kept)


def test_a_file_for_tensorrt_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\n"
        "data: {name: digits, train: 300, validation: 100, calibration: 64, test: 100}\n"
        "model: {arch: digits_cnn, args: {width: 8}}\n"
        "train: {epochs: 1, batch_size: 32, lr: 0.05}\n"
        "compress: [{method: ptq}]\n"
        "bundle: {tensorrt: true}\n"
        "bench: {min_seconds: 0.01, min_queries: 20}\n"
    )
    carry_out(read_recipe(path), tmp_path)
    reports = tmp_path / "small" / "reports"
    made, other = (
        read_report(reports / f"dense-onnx-int8-{kind}.json")
        for kind in ("trt", "u8" if os.uname().machine == "x86_64" else "s8")
    )
    assert made.artifact.input.dtype == made.artifact.output.dtype == "float32"
    assert made.placement.words.startswith("CPU ")  # type: ignore[union-attr]
    assert abs(made.accuracy.score - other.accuracy.score) <= 0.05
    # It has scales of its own, so it is held against its file, and not against the others.
    found = diff_bundle(
        tmp_path / "small",
        artifacts=[],
        taps=[],
        samples=4,
        references=None,
        alone=False,
        bounds=Bounds(),
        progress=QUIET,
    )
    assert "dense-onnx-int8-trt" in {artifact.artifact for artifact in found.artifacts}
    assert all("trt" not in f"{pair.one} {pair.other}" for pair in found.pairs)
    assert found.pairs
