"""Recipes for networks with any inputs and outputs, on noise and on arrays without labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from several_ends import TAKES, TOKENS

import edgeticket
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Limits, compare
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.recipe import DataConfig, check

RNG = np.random.default_rng(1)
QUICK = "bench: {min_seconds: 0.0, min_queries: 5}\n"
MODEL = "model: {import: 'several_ends:several_ends', trained: true}\ncompress: [{method: ptq}]\n"


def recipe(folder: Path, data: str, *, more: str = QUICK, model: str = MODEL) -> Path:
    file = folder / "any.yaml"
    file.write_text(f"name: any\ndata: {data}\n{model}{more}")
    return file


def run(file: Path) -> dict[str, Report]:
    edgeticket.run(file, out=file.parent / "runs", data=file.parent)
    folder = file.parent / "runs" / "any" / "reports"
    return {path.stem: read_report(path) for path in folder.glob("*.json")}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Report]]:
    folder = tmp_path_factory.mktemp("noise")
    takes = json.dumps([list(shape) for shape in TAKES])
    return folder, run(recipe(folder, f"{{random: 12, takes: {takes}}}"))


def test_int8_is_the_same_on_both_runtimes(noise: tuple[Path, dict[str, Report]]) -> None:
    _, reports = noise
    onnx, lite = (
        next(r for name, r in reports.items() if part in name and "int8" in name)
        for part in ("onnx", "tflite")
    )
    told = [r.fidelity for r in (onnx, lite)]
    assert not isinstance(told[0], Unavailable)
    assert not isinstance(told[1], Unavailable)
    between = [*told[0].between, *told[1].between]
    assert between
    assert all(output.equal_share == 1.0 for pair in between for output in pair.outputs)
    assert onnx.accuracy.outputs_sha256 == lite.accuracy.outputs_sha256
    assert all(
        isinstance(output.sqnr_db, float) and output.sqnr_db > 15 for output in told[0].outputs
    )


def test_the_bundle_says_that_it_is_noise(noise: tuple[Path, dict[str, Report]]) -> None:
    folder, reports = noise
    with open_bundle(folder / "runs" / "any" / "bundle") as bundle:
        manifest = bundle.manifest
        image, tokens = bundle.inputs()
    assert manifest.samples.random == 0
    assert manifest.task.name == "nothing"
    assert [one.name for one in manifest.inputs] == ["image", "tokens"]
    assert (image.shape, tokens.shape) == ((12, 8, 6, 3), (12, 5))
    assert 1 < tokens.max() < TOKENS
    summary = (folder / "runs" / "any" / "summary.md").read_text()
    assert "12 random samples, which are noise (seed 0)" in summary
    assert "SQNR dB" in summary
    assert "top-1" not in summary
    assert {report.accuracy.measure for report in reports.values()} == {"SQNR"}


def test_comparisons_speak_of_every_output(noise: tuple[Path, dict[str, Report]]) -> None:
    _, reports = noise
    real = reports["dense-onnx-fp32"]
    rounded = next(r for name, r in reports.items() if "int8" in name and "onnx" in name)
    found = compare(real, rounded, limits=Limits(min_sqnr_db=200.0))
    assert [pair.name for pair in found.fidelity] == [spec.name for spec in real.artifact.outputs]
    # By the rule of `nothing`: each output is within 20 dB of its reference.
    assert isinstance(found.agreement, float)
    assert found.agreement > 0.5
    assert isinstance(found.drop_points, Unavailable)
    assert len(found.broken_limits) == 3
    assert "wanted 200 dB" in found.broken_limits[0]
    assert compare(real, rounded, limits=Limits(min_sqnr_db=5.0)).broken_limits == ()
    with pytest.raises(InputError, match="--min-sqnr is for such reports"):
        compare(real, rounded, limits=Limits(max_drop_points=1.0))
    same = compare(real, real, limits=Limits(identical=True, min_agreement=1.0))
    assert (same.agreement, same.broken_limits) == (1.0, ())


def test_layers_are_compared_with_several_ends(noise: tuple[Path, dict[str, Report]]) -> None:
    folder, _ = noise
    for alone in (False, True):
        found = edgeticket.diff(
            folder / "runs" / "any", samples=2, alone=alone, code=Path(__file__).parent
        )
        assert found.is_within
        assert all(artifact.task == "nothing" for artifact in found.artifacts)
        assert all(artifact.differing == () for artifact in found.artifacts)
        assert all(pair.output.equal == 1.0 for pair in found.pairs)


def test_arrays_without_labels_are_split(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        tokens=RNG.integers(0, TOKENS, (20, 5)),
        image=RNG.normal(size=(20, 3, 8, 6)).astype(np.float32),
    )
    cfg = check(DataConfig, {"npz": "a.npz"}, place="data")
    data = load_dataset(cfg, seed=0, folder=tmp_path)
    assert data.labels == ()
    assert [len(s) for s in (data.calibration, data.validation, data.test)] == [8, 2, 9]
    rows = [
        row.tobytes()
        for split in (data.train, data.calibration, data.validation, data.test)
        for row in split.inputs.arrays[1]  # type: ignore[union-attr]
    ]
    assert len(set(rows)) == len(rows) == 20  # disjoint
    assert load_dataset(cfg, seed=0, folder=tmp_path).digest == data.digest
    assert load_dataset(cfg, seed=1, folder=tmp_path).digest != data.digest


@pytest.mark.parametrize(
    ("data", "model", "sentence"),
    [
        ("random", MODEL, "data.takes: nothing says what import:several_ends:several_ends takes"),
        ("{random: 5, takes: [3, 8, 6]}", MODEL, "does not run on inputs of 3x8x6"),
        (
            "{random: 5, takes: [[3, 8, 6], [5]]}",
            MODEL.replace("compress: [", "compress: [{method: finetune, train: {epochs: 1}}, "),
            r"compress\.0 \(finetune\): random numbers have no targets",
        ),
        ("{npz: a.npz, takes: [3]}", MODEL, "takes is for random examples"),
    ],
)
def test_what_does_not_fit_is_told_at_once(
    tmp_path: Path, data: str, model: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        run(recipe(tmp_path, data, model=model))


def test_a_network_of_this_project_says_what_it_takes(tmp_path: Path) -> None:
    model = "model: {arch: lenet5}\ncompress: [{method: ptq}]\n"
    more: Any = QUICK + "train: {epochs: 1}\n"
    with pytest.raises(InputError, match="train: random numbers have no targets"):
        run(recipe(tmp_path, "random", model=model, more=more))
