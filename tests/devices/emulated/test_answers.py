"""Does int8 on ARM give the same answers as here? Set-up, bench, pull and compare, over SSH."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from network import ROOT, Device
from resnet_bundle import SAMPLES

from edgeticket.device_runner.report import Report, TaskScores, read_report
from edgeticket.pipeline.devices.emulated.user_space import USER_ID

pytestmark = [pytest.mark.devices, pytest.mark.timeout(3600)]

QUICK = ("--", "--min-seconds", "0.1", "--min-queries", "5", "--warmup-seconds", "0")
EQUAL = f"all outputs equal this machine's, bit for bit, over {SAMPLES} samples"


def reports(folder: Path) -> dict[str, Report]:
    return {path.stem: read_report(path) for path in folder.glob("*.json")}


def bench(device: Device, bundle: Path, out: Path, *options: str) -> tuple[str, dict[str, Report]]:
    """`edgeticket bench` over SSH -> what it printed, and the reports that arrived."""
    done = device.host.edgeticket(
        "bench", str(bundle), "--on", device.target, "--out", str(out), *options, timeout_s=3000
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, reports(out / device.address)


def test_over_ssh_all_outputs_are_those_of_this_machine(
    ready: Device, bundle: Path, tmp_path: Path
) -> None:
    printed, found = bench(ready, bundle, tmp_path, *QUICK)
    here = reports(bundle.parent / "reports")
    assert set(found) == {"tflite-int8", "onnx-int8-s8"}
    assert {report.runtime.package for report in found.values()} == {
        "ai-edge-litert",
        "onnxruntime",
    }
    # One set of scales: signed codes on ARM, unsigned ones here, and the same answers.
    digests = {report.accuracy.outputs_sha256 for report in (*found.values(), *here.values())}
    assert len(digests) == 1
    assert {report.accuracy.count for report in found.values()} == {SAMPLES}
    assert printed.count(EQUAL) >= 1
    for report in found.values():
        assert report.machine.emulated == "cortex-a72 by QEMU"
        assert report.machine.cpu == "Cortex-A72"
        assert report.machine.architecture == "aarch64"
        assert "emulated" in [reason.rule for reason in report.validity.reasons]
    same = (
        str(bundle.parent / "reports/tflite-int8.json"),
        str(tmp_path / ready.address / "tflite-int8.json"),
    )
    compared = ready.host.edgeticket("compare", *same)
    assert compared.returncode == 0, compared.stderr
    assert "identical outputs" in compared.stdout
    assert "emulated" in compared.stdout
    limited = ready.host.edgeticket("compare", *same, "--max-p90-ms", "1000")
    assert limited.returncode == 2
    assert "emulated" in limited.stderr


def numbers(scores: TaskScores) -> dict[str, float]:
    return {name: value for name, value in scores.metrics.items() if isinstance(value, float)}


def test_a_detector_gives_the_codes_and_finds_the_boxes_of_this_machine(
    ready: Device, detector: Path, tmp_path: Path
) -> None:
    _, found = bench(ready, detector, tmp_path, *QUICK)
    here = reports(detector.parent / "reports")["tflite-int8"].accuracy
    assert isinstance(here, TaskScores)
    assert set(found) == {"tflite-int8", "onnx-int8-s8"}
    for report in found.values():
        scores = report.accuracy
        assert isinstance(scores, TaskScores)
        # Both maps of every picture, bit for bit; the rest is computed from these in float64.
        assert scores.outputs_sha256 == here.outputs_sha256
        assert scores.sample_crc32 == here.sample_crc32
        assert numbers(scores) == pytest.approx(numbers(here), rel=1e-9)
    assert isinstance(here.score, float)
    assert here.score > 0.8  # there are boxes that can differ
    compared = ready.host.edgeticket(
        "compare",
        str(detector.parent / "reports/tflite-int8.json"),
        str(tmp_path / ready.address / "tflite-int8.json"),
        "--identical",
    )
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "map" in compared.stdout


def test_the_second_set_up_changes_nothing(ready: Device) -> None:
    (environment,) = (ready.home / ".edgeticket/environments").iterdir()
    before = environment.stat()
    done = ready.host.edgeticket("device", "setup", ready.target, "--offline")
    assert done.returncode == 0, done.stderr
    assert "was set up already" in done.stdout
    (environment,) = (ready.home / ".edgeticket/environments").iterdir()
    after = environment.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_tflite_runtime_runs_too(ready: Device, bundle: Path, tmp_path: Path) -> None:
    """Another Python on the board has it; its int8 kernels round differently."""
    ready.shell("python3 -m venv --without-pip ~/old")
    (packages,) = (ready.home / "old/lib").glob("python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages),
         "--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_34_aarch64",
         "--platform", "manylinux_2_17_aarch64", "--python-version", "3.11",
         "--only-binary=:all:", "tflite-runtime==2.14.0", "numpy<2"],
        check=True, cwd=ROOT,
    )  # fmt: skip
    for path in [packages, *packages.rglob("*")]:
        shutil.chown(path, USER_ID, USER_ID)
    python = ("--python", "/home/pi/old/bin/python")
    _, found = bench(ready, bundle, tmp_path, *python, *QUICK)
    assert set(found) == {"tflite-int8"}
    report, here = found["tflite-int8"], reports(bundle.parent / "reports")["tflite-int8"]
    assert report.runtime.package == "tflite-runtime"
    agreement = np.equal(report.accuracy.predictions, here.accuracy.predictions).mean()
    assert agreement >= 0.9


def test_every_emulated_cpu_gives_the_same_outputs(
    ready: Device, bundle: Path, cache: Path, tmp_path: Path
) -> None:
    """Without a network this time. One set-up serves all three: their homes are copies."""
    boards = cache / "emulated/boards"
    for cpu in ("cortex-a53", "cortex-a76"):
        subprocess.run(["cp", "-a", ready.home.parent, boards / f"{cpu}-bookworm"], check=True)
    targets = [f"emulated:cortex-{name}" for name in ("a53", "a72", "a76")]
    done = ready.host.edgeticket(
        "bench", str(bundle), *(word for target in targets for word in ("--on", target)),
        "--out", str(tmp_path), *QUICK, timeout_s=3000, EDGETICKET_CACHE=str(cache),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    expected = reports(bundle.parent / "reports")["tflite-int8"].accuracy.outputs_sha256
    found = {path.parent.name: reports(path.parent) for path in tmp_path.glob("*/*.json")}
    assert sorted(found) == [target.replace(":", "-") for target in targets]
    for label, by_artifact in found.items():
        cpu = label.removeprefix("emulated-")
        assert set(by_artifact) == {"tflite-int8", "onnx-int8-s8"}
        for report in by_artifact.values():
            assert report.accuracy.outputs_sha256 == expected, label
            assert str(report.machine.cpu).lower() == cpu
            assert report.machine.emulated == f"{cpu} by QEMU"
            assert not isinstance(report.machine.int8_instructions, tuple) or (
                ("asimddp" in report.machine.int8_instructions) == (cpu == "cortex-a76")
            )
    assert done.stdout.count(EQUAL) >= len(targets)
    prove_on(ready, bundle)


def prove_on(ready: Device, bundle: Path) -> None:
    """The golden codes of this machine are those of the board."""
    folder = ready.home / "bundle-to-prove"
    shutil.copytree(bundle, folder)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, USER_ID, USER_ID)
    (environment,) = (ready.home / ".edgeticket/environments").iterdir()
    program = f"/home/pi/.edgeticket/environments/{environment.name}/bin/python"
    shown = ready.shell(f"{program} -m edgeticket.device_runner prove ~/bundle-to-prove")
    assert "onnx-int8-s8, tflite-int8 equal bit for bit" in shown, shown
