"""device-runner prove: what was promised is held, and each breach has a sentence of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import ArtifactProof, Manifest, Proof, write_manifest
from edgeticket.device_runner.manifest.fields import only
from edgeticket.device_runner.proving import Wanted, prove
from edgeticket.device_runner.proving.verdicts import PROVEN, REFUSED, UNASKED
from edgeticket.device_runner.unavailable import Unavailable

INT8 = "tiny-tflite-int8"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny.write_tiny_bundle(tmp_path / "b")


def rewritten(folder: Path, change: Callable[[Manifest], Manifest], **files: bytes) -> Path:
    """The tiny bundle with other files, hashed anew, and another manifest."""
    contents = {**tiny.tiny_files(), **files}
    return tiny.write_folder(folder, contents, write_manifest(change(tiny.tiny_manifest(contents))))


def promising(**fields: Any) -> Callable[[Manifest], Manifest]:
    """Change what is promised of `INT8`."""

    def change(manifest: Manifest) -> Manifest:
        assert manifest.proof is not None
        promise = manifest.proof.artifacts[INT8]
        assert isinstance(promise, ArtifactProof)
        changed = {**manifest.proof.artifacts, INT8: replace(promise, **fields)}
        return replace(manifest, proof=replace(manifest.proof, artifacts=changed))

    return change


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main(["prove", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_a_whole_bundle_is_proven(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.perf_counter()
    status, shown = run(capsys, bundle, "--max-p90-ms", 5000, "-o", tmp_path / "proof.json")
    assert time.perf_counter() - before < 30  # a quiet machine: one second
    assert status == 0, shown
    assert shown.count("\n") == 1
    assert shown.startswith("tiny PROVEN: 8 files whole; tiny-tflite-int8 equal bit for bit and ")
    assert "tiny-ort-int8 within bounds over 4 samples" in shown
    proof = json.loads((tmp_path / "proof.json").read_bytes())
    with open_bundle(bundle) as opened:
        assert proof["digest"] == opened.digest
    assert proof["verdict"] == PROVEN
    verdicts = {step["name"]: step["verdict"] for step in proof["steps"]}
    assert verdicts.pop("signature") == UNASKED
    assert verdicts == dict.fromkeys(("files", "outputs", "placement", "latency"), PROVEN)
    assert {one["id"]: one["equal"] for one in proof["artifacts"]}[INT8] == tiny.GOLDEN


@pytest.mark.parametrize("file", ["models/tflite-int8.tflite", "proof/0-0.npy", "manifest.json"])
def test_a_flipped_byte(bundle: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1 if file != "manifest.json" else 0x80
    (bundle / file).write_bytes(bytes(data))
    status, shown = run(capsys, bundle)
    assert status == 3
    assert "REFUSED (files): " in shown
    assert ("SHA-256 differs" in shown) == (file != "manifest.json")


def test_other_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after an upgrade of a runtime that rounds otherwise: one code of one answer."""
    codes = tiny.golden()
    codes[2, 3] += 1
    bundle = rewritten(
        tmp_path / "b", lambda manifest: manifest, **{"proof/0-0.npy": tiny.npy(codes)}
    )
    status, shown = run(capsys, bundle, "--artifact", INT8)
    assert status == 5
    assert (
        "REFUSED (outputs): tiny-tflite-int8: 1 of 4 answers are not the golden ones (the first "
        "for sample 2, off by up to 1 steps); golden answers by numpy, these by ai-edge-litert "
    ) in shown
    # What is not exact is allowed as far as its bound.
    assert run(capsys, bundle, "--artifact", "tiny-ort-int8")[0] == 0
    codes[2, 3] += 1
    again = rewritten(
        tmp_path / "c", lambda manifest: manifest, **{"proof/0-0.npy": tiny.npy(codes)}
    )
    status, shown = run(capsys, again, "--artifact", "tiny-ort-int8")
    assert status == 5
    assert "off by 2 steps, more than the 1 steps that are allowed" in shown


def test_answers_of_another_shape(tmp_path: Path) -> None:
    wide = np.zeros((tiny.GOLDEN, tiny.CLASSES + 1), np.int8)
    bundle = rewritten(
        tmp_path / "b", lambda manifest: manifest, **{"proof/0-0.npy": tiny.npy(wide)}
    )
    report = prove(bundle, Wanted(artifacts=(INT8,)))
    assert "other shapes or types" in report.line
    assert isinstance(only(report.artifacts, "artifacts").worst, Unavailable)


def test_another_placement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = rewritten(tmp_path / "b", promising(placement=()))
    status, shown = run(capsys, bundle, "--artifact", INT8)
    assert status == 6
    assert (
        "REFUSED (placement): tiny-tflite-int8: it ran on XNNPACK, and should run on the "
        "runtime's own kernels (ai-edge-litert "
    ) in shown
    assert run(capsys, bundle, "--artifact", INT8, "--anywhere")[0] == 0
    elsewhere = rewritten(tmp_path / "c", promising(placement=("TensorRT",)))
    assert "should run on TensorRT" in run(capsys, elsewhere, "--artifact", INT8)[1]


def test_too_slow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hurried(manifest: Manifest) -> Manifest:
        assert manifest.proof is not None
        return replace(manifest, proof=replace(manifest.proof, max_p90_ns=1))

    bundle = rewritten(tmp_path / "b", hurried)
    status, shown = run(capsys, bundle, "--artifact", INT8, "--budget")
    assert status == 7
    assert "nine of ten inferences take up to" in shown
    assert run(capsys, bundle, "--artifact", INT8)[0] == 0  # it was not asked for


def test_the_first_breach_decides(tmp_path: Path) -> None:
    codes = tiny.golden() + np.int8(1)
    bundle = rewritten(
        tmp_path / "b", promising(placement=()), **{"proof/0-0.npy": tiny.npy(codes)}
    )
    report = prove(bundle, Wanted(artifacts=(INT8,)))
    assert report.status == 5
    assert [step.verdict for step in report.steps[2:4]] == [REFUSED, REFUSED]


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda m: replace(m, proof=None), [], "promises nothing: make the bundle again"),
        (lambda m: m, ["--artifact", "tiny-ort-fp32"], "numbers in float32 differ by machine"),
        (
            lambda m: replace(m, proof=replace(m.proof, max_p90_ns=None)),
            ["--budget"],
            "promises no latency: give --max-p90-ms",
        ),
        (lambda m: m, ["--artifact", "no"], "no artifact 'no' in the bundle"),
    ],
)
def test_what_cannot_be_asked(
    change: Callable[[Manifest], Manifest],
    options: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, shown = run(capsys, rewritten(tmp_path / "b", change), *options)
    assert status == 2
    assert sentence in shown


def test_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = run(capsys, tmp_path / "none")
    assert status == 2
    assert "does not exist" in shown


@pytest.mark.parametrize(
    ("proof", "sentence"),
    [
        (Proof(4, None, {"no": Unavailable("x")}), "proof of no: there is no such artifact"),
        (
            Proof(4, None, {INT8: ArtifactProof(True, (), (), "x", ())}),
            "too few items|at least 1|0 files",
        ),
        (
            Proof(4, None, {INT8: ArtifactProof(True, ("proof/0-0.npy",), (1.0,), "x", ())}),
            "it is exact, but has tolerances above 0",
        ),
        (
            Proof(4, None, {INT8: ArtifactProof(True, ("no.npy",), (0.0,), "x", ())}),
            "'no.npy' is not listed in files",
        ),
    ],
)
def test_promises_that_contradict_themselves(proof: Proof, sentence: str) -> None:
    manifest = replace(tiny.tiny_manifest(tiny.tiny_files()), proof=proof)
    with pytest.raises(InputError, match=sentence):
        write_manifest(manifest)
