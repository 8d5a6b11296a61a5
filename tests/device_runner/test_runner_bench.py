"""The whole measurement on a tiny bundle, with both runtimes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny

from edgeticket.device_runner import bench as bench_module
from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.cold import measure_cold
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest, write_manifest
from edgeticket.device_runner.readings import Throttling
from edgeticket.device_runner.report import Report, read_report, write_report
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.subjects import CYCLED_INPUTS
from edgeticket.device_runner.unavailable import Unavailable

QUICK: dict[str, Any] = {"plan": tiny.QUICK}
MANIFEST = tiny.tiny_manifest(tiny.tiny_files())
COUNT = 90  # more than one chunk of samples, more than the inputs that are cycled


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b", COUNT)


@pytest.fixture(scope="module")
def measured(path: Path) -> tuple[list[Report], list[tuple[str, float]], Path]:
    told: list[tuple[str, float]] = []
    outputs = path.parent / "outputs"
    reports = bench(
        path, **QUICK, outputs=outputs, progress=lambda what, share: told.append((what, share))
    )
    return reports, told, outputs


def test_every_artifact_has_a_report(measured: Any) -> None:
    reports, _, _ = measured
    ids = tuple(entry.id for entry in MANIFEST.artifacts)
    assert tuple(report.artifact.id for report in reports) == ids
    assert {report.session.artifacts for report in reports} == {ids}
    assert len({report.session.id for report in reports}) == 1


def test_reports_survive_the_disk(measured: Any, tmp_path: Path) -> None:
    for report in measured[0]:
        write_report(report, tmp_path / "r.json")
        assert read_report(tmp_path / "r.json") == report


def test_numbers_hang_together(measured: Any, path: Path) -> None:
    for report in measured[0]:
        assert report.latency.queries >= 70
        assert isinstance(report.latency.p50_ns, int)
        assert isinstance(report.cold.load_ns, int)
        assert isinstance(report.cold.first_inference_ns, int)
        assert report.latency.min_ns < report.cold.first_inference_ns
        assert isinstance(report.cold.peak_rss_bytes, int)
        assert report.cold.peak_rss_bytes > 10 * 2**20  # an interpreter, numpy and a runtime
        assert isinstance(report.preprocessing_ns.p50, int)
        model = (path / report.artifact.file).read_bytes()
        assert report.artifact.sha256 == hashlib.sha256(model).hexdigest()
        assert report.artifact.size_bytes == len(model)
    digest = hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    assert {report.bundle.digest for report in measured[0]} == {digest}


def test_accuracy_is_that_of_the_kept_outputs(measured: Any) -> None:
    reports, _, outputs = measured
    labels = tiny.samples(COUNT)[1]
    for report in reports:
        codes = np.load(outputs / f"{report.artifact.id}.npy", allow_pickle=False)
        assert codes.dtype == np.dtype(report.artifact.output.dtype)
        assert codes.shape == (COUNT, tiny.CLASSES)
        assert report.accuracy.outputs_sha256 == hashlib.sha256(codes.tobytes()).hexdigest()
        assert list(report.accuracy.predictions) == codes.argmax(axis=1).tolist()
        assert report.accuracy.top1 == (codes.argmax(axis=1) == labels).mean()
        # The labels are the real-valued network's own, so fp32 is right throughout.
        assert report.accuracy.top1 >= (1.0 if report.artifact.precision == "fp32" else 0.9)


def test_both_runtimes_give_the_same_codes(measured: Any) -> None:
    _, _, outputs = measured
    ort, tflite = (
        np.load(outputs / f"tiny-{runtime}-int8.npy").astype(int) for runtime in ("ort", "tflite")
    )
    assert np.abs(ort - tflite).max() <= 1


def test_progress_is_told_and_ends(measured: Any) -> None:
    _, told, _ = measured
    assert [what for what, share in told if share == 0] == [
        "cold starts",
        "timing queries",
        "accuracy",
    ]
    assert told[-1] == ("accuracy", 1.0)


def test_samples_limits_accuracy_only(path: Path) -> None:
    (report,) = bench(path, **QUICK, artifact="tiny-ort-fp32", samples=10)
    assert report.accuracy.count == 10 < CYCLED_INPUTS
    assert report.latency.queries >= 70
    with pytest.raises(InputError, match="91 samples were asked for, the bundle has 90"):
        bench(path, **QUICK, samples=91)


def test_a_zip_gives_the_same_outputs(path: Path, measured: Any, tmp_path: Path) -> None:
    import mutations

    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    (tmp_path / "b.zip").write_bytes(mutations.pack(files))
    (report,) = bench(
        tmp_path / "b.zip", plan=replace(tiny.QUICK, threads=(2,)), artifact="tiny-tflite-int8"
    )
    assert report.accuracy == measured[0][3].accuracy
    assert report.bundle == measured[0][3].bundle
    assert report.runtime.threads == 2


def test_readings_come_from_the_given_root(path: Path, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("3.25 0 0 1/2 3\n")
    bits = iter([1, 2, 0, 0])

    def command(words: Sequence[str]) -> str:
        if list(words) == ["vcgencmd", "get_throttled"]:
            return f"throttled=0x{next(bits):x}\n"
        raise FileNotFoundError(words[0])

    (report,) = bench(path, **QUICK, artifact="tiny-ort-int8", root=tmp_path, command=command)
    assert report.before.load_1min == 3.25
    assert report.before.throttling == Throttling(("under-voltage",), ())
    assert report.during.conditions == ("frequency capped",)  # seen by no look but this one
    assert report.after.throttling == Throttling((), ())
    assert report.validity.verdict == "INVALID"
    assert [finding.rule for finding in report.validity.reasons][:2] == [
        "under-voltage",
        "throttled",
    ]


def for_machine(*machines: str) -> Manifest:
    """The tiny manifest; its int8 artifacts are meant for other machines."""
    return replace(
        MANIFEST,
        artifacts=tuple(
            replace(entry, architectures=machines) if entry.precision == "int8" else entry
            for entry in MANIFEST.artifacts
        ),
    )


def chosen(manifest: Manifest, **asked: Any) -> list[str]:
    return [entry.id for entry in select(manifest, architecture="x86_64", **asked).chosen]


def test_selection() -> None:
    everything = [entry.id for entry in MANIFEST.artifacts]
    assert chosen(MANIFEST) == everything
    assert chosen(MANIFEST, runtime="ort") == everything[:2]
    assert chosen(MANIFEST, precision="int8") == everything[1::2]
    assert chosen(MANIFEST, runtime="tflite", precision="int8") == everything[3:]
    assert chosen(MANIFEST, artifact=everything[1]) == [everything[1]]
    assert chosen(MANIFEST, artifact=[everything[3], everything[0]]) == everything[::3]
    assert chosen(MANIFEST, artifact=everything[:2], precision="int8") == [everything[1]]
    with pytest.raises(InputError, match="'tiny-ort-fp32' is asked for twice: name each once"):
        chosen(MANIFEST, artifact=[everything[0], everything[1], everything[0]])
    with pytest.raises(InputError, match="no artifact 'x' in the bundle"):
        chosen(MANIFEST, artifact=[everything[0], "x"])


def test_artifacts_for_other_machines_are_skipped_unless_named() -> None:
    manifest = for_machine("aarch64", "armv7l")
    assert chosen(manifest) == ["tiny-ort-fp32", "tiny-tflite-fp32"]
    assert select(manifest, architecture="x86_64").skipped == (
        ("tiny-ort-int8", "it is meant for aarch64, armv7l"),
        ("tiny-tflite-int8", "it is meant for aarch64, armv7l"),
    )
    assert chosen(manifest, artifact="tiny-ort-int8") == ["tiny-ort-int8"]
    with pytest.raises(InputError, match="no artifact can run on this x86_64 machine"):
        chosen(manifest, precision="int8")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"artifact": "tiny"}, r"no artifact 'tiny' in the bundle \(there are: tiny-ort-fp32, "),
        ({"runtime": "cuda"}, r"unknown runtime 'cuda' \(known: ort, tflite\)"),
        ({"precision": "int4"}, "no artifact of the bundle is int4"),
        ({"artifact": "tiny-ort-fp32", "runtime": "tflite"}, "is tiny-ort-fp32, tflite"),
    ],
)
def test_selections_that_cannot_be(asked: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        chosen(MANIFEST, **asked)


def test_a_missing_runtime_is_skipped_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert chosen(MANIFEST) == ["tiny-tflite-fp32", "tiny-tflite-int8"]
    (name, reason), _ = select(MANIFEST, architecture="x86_64").skipped
    assert name == "tiny-ort-fp32"
    assert "pip install onnxruntime" in reason
    for asked in ({"runtime": "ort"}, {"artifact": "tiny-ort-int8"}):
        with pytest.raises(InputError, match=r"^runtime ort .*: pip install onnxruntime"):
            chosen(MANIFEST, **asked)


def bundle_with(folder: Path, path: str, data: bytes) -> Path:
    """A tiny bundle with one file exchanged and hashes that fit."""
    files = {**tiny.tiny_files(), path: data}
    return tiny.write_folder(folder, files, write_manifest(tiny.tiny_manifest(files)))


@pytest.mark.parametrize(
    ("artifact", "other"),
    [("ort-int8.onnx", tiny.onnx_fp32()), ("tflite-int8.tflite", tiny.tflite(int8=False))],
)
def test_another_model_than_promised_is_refused(
    tmp_path: Path, artifact: str, other: bytes
) -> None:
    path = bundle_with(tmp_path, f"models/{artifact}", other)
    with pytest.raises(InputError, match=r"the input is float32 .* in the model file, but int8"):
        bench(path, **QUICK, artifact=f"tiny-{artifact.split('.')[0]}")


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    path = bundle_with(tmp_path, "models/ort-fp32.onnx", b"not a model")
    with pytest.raises(InputError, match="tiny-ort-fp32 is no whole ONNX file"):
        bench(path, **QUICK, artifact="tiny-ort-fp32")


def test_a_cold_start_that_fails_gives_reasons(path: Path) -> None:
    found = measure_cold(path / "none", "tiny-ort-fp32", threads=1)
    assert found.load_ns == found.first_inference_ns == found.peak_rss_bytes
    assert isinstance(found.load_ns, Unavailable)
    assert "does not exist" in found.load_ns.reason


def test_a_runtime_that_dies_is_told_and_not_met_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(module: str, arguments: list[str], **options: Any) -> Any:
        return subprocess.CompletedProcess(arguments, -11, stdout=b"", stderr=b"")

    loaded: list[str] = []
    monkeypatch.setattr("edgeticket.device_runner.cold.run_child", dies)
    monkeypatch.setattr(bench_module, "load_subject", lambda *_, **__: loaded.append("x"))
    with pytest.raises(InputError, match="tiny-ort-fp32: its runtime dies of SIGSEGV"):
        bench(path, **QUICK, artifact="tiny-ort-fp32")
    assert loaded == []


SPY = """
import json, sys
from pathlib import Path
if sys.argv[1] == "cli":
    import edgeticket.device_runner.cli
    try:
        edgeticket.device_runner.cli.main(["bench", "--help"])
    except SystemExit:
        pass
else:
    from edgeticket.device_runner.bench import bench
    from edgeticket.device_runner.plan import Plan
    bench(Path(sys.argv[2]), runtime=sys.argv[1], plan=Plan(min_seconds=0, min_queries=1))
names = {name.split(".")[0] for name in sys.modules}
names |= {n for n in sys.modules if n.startswith(("edgeticket.pipeline", "edgeticket.models"))}
print(json.dumps(sorted(names)))
"""
NEEDS = {
    "cli": set(),
    "ort": {"numpy", "onnxruntime", "google", "flatbuffers", "packaging"},
    "tflite": {"numpy", "ai_edge_litert", "ml_dtypes", "flatbuffers", "tqdm", "google"},
}


@pytest.mark.parametrize("what", NEEDS)
def test_nothing_is_imported_that_a_device_lacks(what: str, path: Path) -> None:
    """Names that the bare interpreter has are its own, or its environment's (.pth files)."""
    command = [sys.executable, "-c", SPY, what, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{n.split('.')[0] for n in sys.modules})"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    known = sys.stdlib_module_names | set(bare.stdout.split()) | {"edgeticket"} | NEEDS[what]
    assert imported - known == set()
    assert not imported & {"torch", "pydantic", "yaml", "rich", "typer", "onnx"}
