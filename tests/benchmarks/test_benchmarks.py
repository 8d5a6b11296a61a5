"""Every benchmark runs, at its smallest; what it measures is no test's business."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import edgeticket

FOLDER = Path(__file__).parents[2] / "benchmarks"
TINY = (
    *("data.train=300", "data.validation=60", "data.calibration=20", "data.test=60"),
    *("train.epochs=1", "compress=[{method: ptq}]", "bench.min_seconds=0", "bench.min_queries=1"),
)
# Script -> arguments, after the bundle where it takes one; and how many lines it prints at least.
SCRIPTS: dict[str, tuple[list[str], int]] = {
    "runner_overhead.py": (["BUNDLE", "--rounds", "1"], 5),
    "teacher_cost.py": (
        [
            *("--student", "resnet20", "--teacher", "resnet20", "--examples", "128"),
            *("--epochs", "1", "--views", "1", "--rounds", "1"),
        ],
        4,
    ),
    "watch_cost.py": (["BUNDLE", "--rounds", "1", "--artifact", "dense-tflite-int8"], 2),
    "loadgen.py": (["BUNDLE", "--rounds", "1", "--seconds", "0.05"], 1),
    "gate_overhead.py": (["lenet300", "--steps", "1"], 2),
    "slim_latency.py": (["resnet20", "--seconds", "0.02"], 8),
    "conversion.py": (["--pixels", "32"], 9),
    "coverage.py": (["--only", "keywords", "--out", "OUT"], 3),
    "recurrent.py": (["--steps", "4", "--inputs", "3", "--size", "4", "--runs", "2"], 3),
    "prediction.py": (
        [
            *("--networks", "resnet20", "--structures", "2", "--runtimes", "tflite"),
            *("--precisions", "int8", "--allow-invalid", "--times", "OUT"),
        ],
        2,
    ),
    "search_front.py": (
        [
            *("--set", "data.train=200", "--set", "model.args.width=8", "--set", "train.epochs=1"),
            *("--budgets", "0.5", "--allow-invalid", "--out", "OUT"),
        ],
        12,
    ),
    "many_workers.py": (["--workers", "1,2", "--seconds", "0.1", "--rounds", "1"], 3),
    "peers/compare.py": (["RUN", "--installed", "--seconds", "0.02"], 12),
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    edgeticket.run("demo", out=out, overrides=TINY)
    return out / "demo"


def run(script: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_script_is_run() -> None:
    scripts = {path.name for path in FOLDER.glob("*.py")} - {"networks.py"}  # a list of networks
    assert scripts | {"peers/compare.py"} == set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs(script: str, finished_run: Path, tmp_path: Path) -> None:
    places = {"BUNDLE": str(finished_run / "bundle"), "RUN": str(finished_run)}
    places["OUT"] = str(tmp_path / "lines.jsonl")
    arguments, lines = SCRIPTS[script]
    printed = run(script, *(places.get(word, word) for word in arguments), cwd=tmp_path)
    assert len(printed.splitlines()) >= lines
    if script == "peers/compare.py":
        assert "edgeticket, LiteRT" in printed
        assert "Olive static is left out" in printed


@pytest.mark.skipif(
    importlib.util.find_spec("mlperf_loadgen") is not None, reason="the load generator is installed"
)
def test_a_peer_that_is_not_installed_is_said_in_one_sentence(tmp_path: Path) -> None:
    assert run("loadgen.py", "absent", cwd=tmp_path).count("\n") == 1
