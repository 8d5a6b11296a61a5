"""A function of the user's over the outputs that a device brings back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import runner_fixtures as tiny
from rich.console import Console
from typer.testing import CliRunner

import edgeticket
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cli import main as runner
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.npz import format_npz
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.devices.own_metric import judge_outputs, load_metric

QUICK = ("--min-seconds", "0", "--min-queries", "2", "--warmup-seconds", "0")
SOURCE = """
import numpy as np

def right(outputs, targets):
    (output,) = outputs
    assert output.dtype == np.float32
    return float((output.argmax(1) == targets["label"]).mean())

def several(outputs, targets):
    return {"count": len(outputs[0]), "largest": outputs[0].max()}

def fails(outputs, targets):
    raise KeyError("mask")

def nothing(outputs, targets):
    return None

def endless(outputs, targets):
    return {"a": float("inf")}
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's, new for each test."""
    name = f"own_metric_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_device_brings_outputs_and_the_function_judges_them(
    functions: str, tmp_path: Path
) -> None:
    bundle = tiny.write_tiny_bundle(tmp_path / "bundle", count=6)
    with (tmp_path / "told.txt").open("w+") as told:
        (outcome,) = edgeticket.bench(
            bundle,
            on=[f"local:{tmp_path}/home"],
            options=[*QUICK, "--artifact", "tiny-ort-int8"],
            out=tmp_path / "out",
            console=Console(file=told, width=200),
            metric=f"{functions}:right",
        )
        told.seek(0)
        text = told.read()
    (report,) = outcome.reports
    rows = (tmp_path / "out" / "own-metric.csv").read_text().splitlines()
    assert rows[0] == "device,artifact,metric,value"
    assert rows[1] == f"{outcome.device.label},tiny-ort-int8,right,{report.accuracy.top1!r}"
    assert "own metric" in text
    with pytest.raises(InputError, match="own samples"):
        edgeticket.bench(
            bundle, on=["local"], options=["--samples", "d"], out=tmp_path / "o",
            metric=f"{functions}:right",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fails", "raised KeyError: 'mask'"),
        ("nothing", "it should return a finite number"),
        ("endless", "it should return a finite number"),
    ],
)
def test_functions_that_tell_nothing(
    functions: str, name: str, sentence: str, tmp_path: Path
) -> None:
    bundle = tiny.write_tiny_bundle(tmp_path / "bundle", count=6)
    file = tmp_path / "o.npz"
    file.write_bytes(format_npz({"output_0": np.zeros((6, tiny.CLASSES), np.float32)}))
    metric = load_metric(f"{functions}:{name}")
    with open_bundle(bundle) as opened, pytest.raises(InputError, match=sentence):
        judge_outputs(metric, f"{functions}:{name}", opened, [("pi", "tiny-ort-fp32", file)])


def test_codes_become_real_numbers_and_several_values_have_names(
    functions: str, tmp_path: Path
) -> None:
    bundle = tiny.write_tiny_bundle(tmp_path / "bundle", count=6)
    file = tmp_path / "o.npz"
    codes = np.full((6, tiny.CLASSES), tiny.OUTPUT_ZERO + 8, np.int8)
    file.write_bytes(format_npz({"output_0": codes}))
    metric = load_metric(f"{functions}:several")
    with open_bundle(bundle) as opened:
        told = judge_outputs(metric, "m:several", opened, [("pi", "tiny-ort-int8", file)])
    assert [(v.metric, v.value) for v in told] == [
        ("count", 6.0),
        ("largest", 8 * tiny.OUTPUT_SCALE),
    ]
    file.write_bytes(format_npz({"other": codes}))
    with (
        open_bundle(bundle) as opened,
        pytest.raises(InputError, match="holds other, not output_0"),
    ):
        judge_outputs(metric, "m:several", opened, [("pi", "tiny-ort-int8", file)])


@pytest.mark.parametrize("name", ["nowhere:f", "os", "json:nothing_like_it"])
def test_functions_that_are_not_there(name: str) -> None:
    with pytest.raises(InputError, match="--metric"):
        load_metric(name)


def test_a_comparison_tells_what_the_function_says_of_both(functions: str, tmp_path: Path) -> None:
    bundle = tiny.write_tiny_bundle(tmp_path / "bundle", count=6)
    reports = tmp_path / "reports"
    folders = ["-o", str(reports), "--outputs-packed", str(reports)]
    assert runner(["bench", str(bundle), *folders, *QUICK]) == 0
    files = [reports / f"tiny-ort-{precision}.json" for precision in ("fp32", "int8")]
    words = ["compare", *map(str, files), "--json", "--bundle", str(bundle)]
    told = CliRunner().invoke(app, [*words, "--metric", f"{functions}:right"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.output)
    assert document["further"]["right (own)"] == list(document["scores"])
    with pytest.raises(InputError, match="raised KeyError: 'mask'"):
        CliRunner().invoke(app, [*words, "--metric", f"{functions}:fails"], catch_exceptions=False)
    with pytest.raises(InputError, match="--metric needs --bundle"):
        edgeticket.compare(*files, metric=f"{functions}:right")
    (reports / "tiny-ort-int8.npz").write_bytes((reports / "tiny-ort-fp32.npz").read_bytes())
    (case,) = edgeticket.compare(*files, metric=f"{functions}:right", bundle=bundle).cases
    assert case.problem is not None
    assert "holds other outputs than" in case.problem
    (reports / "tiny-ort-int8.npz").unlink()
    (case,) = edgeticket.compare(*files, metric=f"{functions}:right", bundle=bundle).cases
    assert case.problem is not None
    assert "no outputs lie beside" in case.problem
    other = tiny.write_tiny_bundle(tmp_path / "other", count=5)
    (case,) = edgeticket.compare(*files, metric=f"{functions}:right", bundle=other).cases
    assert case.problem is not None
    assert "another bundle" in case.problem
