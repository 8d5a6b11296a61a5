"""The command `tap` and its file: what is in it, that it is whole, that damage is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diff_fixtures import write_small_bundle
from jsonschema import Draft202012Validator

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.cli import main
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import preprocess, to_tensor
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.schema import load_schema
from edgeticket.device_runner.taps.file import Kernels, open_taps
from edgeticket.device_runner.taps.tap import tap
from edgeticket.device_runner.unavailable import Unavailable


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("taps") / "bundle")


@pytest.fixture(scope="module")
def taps(bundle: Path) -> Path:
    tap(bundle, bundle.parent / "taps.npz", artifact="tflite-int8", samples=3)
    return bundle.parent / "taps.npz"


@pytest.mark.parametrize("artifact", ["tflite-int8", "ort-int8", "ort-fp32", "tflite-fp32"])
def test_numpy_reads_every_layer(artifact: str, bundle: Path, tmp_path: Path) -> None:
    status = main(
        ["tap", str(bundle), "--artifact", artifact, "-o", str(tmp_path / "t.npz"),
         "--samples", "3"]
    )  # fmt: skip
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]
    arrays = np.load(tmp_path / "t.npz")
    facts = json.loads(arrays["taps.json"])
    Draft202012Validator(load_schema("taps")).validate(facts)
    names = ["relu", "wide", "relu_1", "relu6", "point", "pool", "flatten", "relu_2"]
    assert arrays.files == ["taps.json", "output", *names]
    maps = (3, 1, 8, 8, 8)
    assert arrays["relu"].shape == maps
    assert arrays["output"].shape == (3, 1, 5)
    with open_bundle(bundle) as opened:
        (entry,) = (a for a in opened.manifest.artifacts if a.id == artifact)
        model, (inputs, _) = opened.read(entry.file), opened.samples()
        steps = opened.manifest.preprocessing
    session = get_runtime(entry.runtime).load(model, threads=1, place="it")
    for i in range(3):
        x = to_tensor(preprocess(inputs[i : i + 1], steps), entry.input)
        np.testing.assert_allclose(arrays["output"][i], session.run(x), rtol=1e-5, atol=1e-5)


def test_taps_are_streamed_back_with_their_facts(taps: Path) -> None:
    arrays = np.load(taps)
    with open_taps(taps) as opened:
        facts = opened.facts
        for i, row in enumerate(opened.rows()):
            assert all(np.array_equal(row[n], arrays[n][i]) for n in arrays.files[1:])
    assert facts.samples == facts.same_outputs == 3
    assert facts.output_difference == 0
    assert facts.artifact.id == "tflite-int8"
    assert all(value.scale is not None for value in facts.values)
    assert isinstance(facts.kernels, Unavailable)


def test_onnxruntime_tells_whether_tapping_changed_its_kernels(
    bundle: Path, tmp_path: Path
) -> None:
    integer = tap(bundle, tmp_path / "u8.npz", artifact="ort-int8", samples=1).kernels
    assert isinstance(integer, Kernels)
    assert integer.plain == integer.tapped
    assert integer.plain["QLinearConv"] == 4
    real = tap(bundle, tmp_path / "fp32.npz", artifact="ort-fp32", samples=1).kernels
    assert isinstance(real, Kernels)
    assert set(real.plain) <= set(real.tapped)  # fused additions come apart


def test_equal_runs_give_equal_bytes(bundle: Path, taps: Path, tmp_path: Path) -> None:
    tap(bundle, tmp_path / "again.npz", artifact="tflite-int8", samples=3)
    assert (tmp_path / "again.npz").read_bytes() == taps.read_bytes()


def test_too_much_is_refused_before_it_is_begun(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"take 0 MB, more than 0 MB: ask for 3 samples"):
        tap(bundle, tmp_path / "t.npz", artifact="ort-int8", samples=12, limit_bytes=6000)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_an_error(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        tap(bundle, tmp_path / "none" / "t.npz", artifact="ort-int8", samples=1)


def rewrite(taps: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(taps) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def edit(**fields: object) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["taps.json"] = json.dumps(json.loads(files["taps.json"]) | fields).encode()

    return change


def cut(files: dict[str, bytes]) -> None:
    files["relu.npy"] = files["relu.npy"][:-1]


def reshape(files: dict[str, bytes]) -> None:
    files["relu.npy"] = files["relu.npy"].replace(b"(3, 1, 8", b"(3, 8, 1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files.pop("taps.json"), "no taps file"),
        (lambda files: files.pop("relu.npy"), "relu.npy is missing"),
        (cut, "relu.npy is missing or not of"),
        (reshape, "relu.npy is not the array"),
        (edit(samples=4), "not of"),
        (edit(samples=2**62), "not of"),
        (edit(samples=-1), "samples"),
        (edit(output="nothing"), "contradicts itself"),
        (edit(schema_version=2), "made by a newer edgeticket"),
        (edit(extra=1), "unknown key 'extra'"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    change: Callable[[dict[str, bytes]], None], sentence: str, taps: Path, tmp_path: Path
) -> None:
    path = rewrite(taps, tmp_path / "t.npz", change)
    with pytest.raises(InputError, match=sentence), open_taps(path) as opened:
        list(opened.rows())


def test_damage_anywhere_is_refused_or_harmless(taps: Path, tmp_path: Path) -> None:
    data = taps.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "t.npz"
    refused = 0
    for trial in range(150):
        broken = bytearray(data[: int(rng.integers(len(data)))] if trial % 3 == 0 else data)
        for place in rng.integers(0, len(broken), 4) if broken else ():
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            with open_taps(path) as opened:
                list(opened.rows())
        except InputError:
            refused += 1
    assert refused > 100
