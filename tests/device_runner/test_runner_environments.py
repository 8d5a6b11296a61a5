"""The runner beside nothing but numpy and one runtime, each in a fresh environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runner_fixtures import write_tiny_bundle

from edgeticket.device_runner.report import read_report

ROOT = Path(__file__).parents[2]
RUNTIMES = {
    "ort": (["onnxruntime"], "onnxruntime"),
    "litert": (["ai-edge-litert"], "ai-edge-litert"),
    # needs numpy 1 and does not say so
    "tflite-runtime": (["tflite-runtime==2.14.0", "numpy<2"], "tflite-runtime"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_the_base_install_with_one_runtime(tmp_path: Path, name: str) -> None:
    packages, provider = RUNTIMES[name]
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, str(ROOT), *packages], check=True)
    bundle = write_tiny_bundle(tmp_path / "bundle")
    runner = python.with_name("device-runner")
    subprocess.run([str(runner), "check", str(bundle)], check=True)
    subprocess.run([str(runner), "info"], check=True)
    subprocess.run(
        [str(runner), "bench", str(bundle), "-o", str(tmp_path / "out"), "--min-seconds", "0.1"],
        check=True,
    )
    reports = [read_report(file) for file in (tmp_path / "out").glob("*.json")]
    assert {report.artifact.precision for report in reports} == {"fp32", "int8"}
    assert {report.runtime.package for report in reports} == {provider}
    assert min(report.accuracy.top1 for report in reports) > 0.9
    imported = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=freeze"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "torch" not in imported
    assert "pydantic" not in imported
