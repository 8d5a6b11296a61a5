"""Targets and settings that nobody vouches for: read without harm, refused with a sentence."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from task_fixtures import example

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.judging import Judging
from edgeticket.device_runner.manifest import Network, Task, read_manifest
from edgeticket.device_runner.npy import DTYPES
from edgeticket.device_runner.npz import format_npz, parse_npz
from edgeticket.device_runner.report import TaskScores
from edgeticket.device_runner.strict_json import format_json, parse_json, to_json
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.bundle import StoredInput, write_bundle, zip_bundle
from edgeticket.pipeline.data.targets import Targets

COUNT = 6
VALUES = np.random.default_rng(3).normal(size=(COUNT, tiny.CLASSES))

ARRAYS = st.dictionaries(
    st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}\Z"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=4, min_side=0))
    ),
    max_size=4,
)


@given(ARRAYS)
def test_arrays_come_back_as_they_were(arrays: dict[str, Any]) -> None:
    data = format_npz(arrays)
    assert data == format_npz(arrays)
    back = parse_npz(data, place="t.npz")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
        assert not back[name].flags.writeable
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        assert set(loaded.files) == set(arrays)


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def claiming(size: int) -> bytes:
    """An .npz whose directory says that an array has ``size`` bytes."""
    data = bytearray(zipped({"a.npy": tiny.npy(np.arange(4))}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no .npz file"),
        (b"PK\x05\x06" + b"\0" * 5, "no .npz file"),
        (zipped({"../a.npy": tiny.npy(np.arange(3))}), "arrays are called by words"),
        (zipped({"a.txt": b"1"}), "arrays are called by words"),
        (zipped({f"a{i}.npy": tiny.npy(np.arange(3)) for i in range(65)}), "65 arrays, allowed"),
        (zipped({"a.npy": pickle.dumps([1])}), "is not a .npy file"),
        (zipped({"a.npy": tiny.npy(np.array(["a", "b"]))}), "is not a .npy file"),
        (
            zipped({"a.npy": tiny.npy(np.arange(3))}, zipfile.ZIP_LZMA),
            "another method than deflate",
        ),
        (zipped({"a.npy": tiny.npy(np.zeros(2**22))}, zipfile.ZIP_DEFLATED), "more than 200 times"),
        (claiming(2**31 + 2**30), "holds more than"),
        (claiming(50), "is not a .npy file|damaged|promises"),
    ],
)
def test_files_that_are_none(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_npz(data, place="t.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    file = io.BytesIO()
    np.savez(file, mask=np.array([Bad()], dtype=object))
    with pytest.raises(InputError, match=r"is not a .npy file"):
        parse_npz(file.getvalue(), place="t.npz")
    assert not (tmp_path / "ran").exists()


def numbers_bundle(folder: Path, **changes: Any) -> Path:
    """The tiny network as a bundle that tells numbers."""
    files = tiny.tiny_files(COUNT)
    manifest = tiny.tiny_manifest(files, COUNT)
    given: dict[str, Any] = {
        "name": "tiny",
        "artifacts": [(a, files[a.file]) for a in manifest.artifacts],
        "inputs": [StoredInput("input", tiny.samples(COUNT)[0], (), tiny.STEPS)],
        "targets": Targets(Task("numbers", {"absolute": 0.1}), {"values": VALUES}, COUNT),
        "dataset": "noise",
        "labels": (),
        "networks": {"tiny": Network(1, 1, {"mae": 0.5, "rmse": 0.75, "r2": -3.0})},
        "provenance": {},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    write_bundle(folder, **given)
    return folder


def test_targets_in_a_folder_and_in_a_zip(tmp_path: Path) -> None:
    folder = numbers_bundle(tmp_path / "b")
    zip_bundle(folder, tmp_path / "b.zip")
    for place in (folder, tmp_path / "b.zip"):
        with open_bundle(place) as bundle:
            _, targets = bundle.examples()
            assert isinstance(targets, dict)
            np.testing.assert_array_equal(targets["values"], VALUES)
            _, first = bundle.examples(2)
            assert isinstance(first, dict)
            np.testing.assert_array_equal(first["values"], VALUES[:2])


def test_masks_of_one_class_survive_the_zip(tmp_path: Path) -> None:
    """They shrink further than a reader trusts a zip."""
    blank = np.zeros((COUNT, 1024, 1024), np.uint8)
    targets = Targets(Task("nothing"), {}, COUNT)
    folder = numbers_bundle(tmp_path / "b", targets=targets, networks={"tiny": Network(1, 1, {})})
    (folder / "samples" / "blank.bin").write_bytes(blank.tobytes())
    zip_bundle(folder, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        entry = archive.getinfo("samples/blank.bin")
        assert entry.file_size <= 200 * entry.compress_size


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("classes", "nothing")])
def test_the_first_samples_of_a_task(name: str) -> None:
    settings, outputs, targets = example(name, 5, 8)
    task = TASKS[name]
    first = task.take_first(targets, 3)
    task.check(first, settings, 3)
    assert set(first) == set(targets)
    alone = task.make_tally(first, settings, 3)
    alone.add([output[:3] for output in outputs])
    assert alone.metrics().keys() == {metric.name for metric in task.metrics(settings)}
    whole = task.take_first(targets, 8)
    for key, array in targets.items():
        np.testing.assert_array_equal(whole[key], array)


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        ({"values": VALUES[:4]}, "'values' is for 4 samples, there are 6"),
        ({"values": VALUES * np.nan}, "not finite for sample 0"),
        ({"values": VALUES, "mask": VALUES}, "targets hold 'mask', which numbers does not know"),
        ({"values": VALUES.astype(complex)}, "complex128"),
        ({"other": VALUES}, "which numbers does not know"),
    ],
)
def test_targets_that_cannot_be_right_make_no_bundle(
    targets: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        numbers_bundle(tmp_path / "b", targets=Targets(Task("numbers"), targets, COUNT))
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_targets_are_checked_again_when_they_are_read(tmp_path: Path) -> None:
    folder = numbers_bundle(tmp_path / "b")
    document = parse_json((folder / "manifest.json").read_bytes(), place="m")
    data = format_npz({"values": VALUES[:4]})
    (folder / "samples" / "targets.npz").write_bytes(data)
    for entry in document["files"]:
        if entry["path"] == "samples/targets.npz":
            entry.update(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_bytes(format_json(document))
    with (
        open_bundle(folder) as bundle,
        pytest.raises(InputError, match=r"targets.npz: targets: 'v"),
    ):
        bundle.examples()


def boxes(**changes: Any) -> dict[str, Any]:
    settings = {"input": [8, 8], "boxes": {"count": 4}, "scores": {"count": 3, "first": 4}}
    return {"name": "boxes", "settings": {**settings, **changes}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m["task"].update(name="mask"), "no task 'mask' here; did you mean masks"),
        (lambda m: m["task"].update(settings={"absolut": 1}), "absolut"),
        (lambda m: m["task"].update(settings={"absolute": "much"}), "absolute"),
        (lambda m: m["task"].update(settings={"output": True}), "output"),
        (lambda m: m["task"].update(settings={"output": 1}), "reads output 1, the network has 1"),
        (lambda m: m["task"].update(settings=[]), "settings"),
        (lambda m: m.update(task={"name": "masks", "settings": {}}),
         r"ort-fp32: masks: output 0 has shape \[0, 7\]"),
        (lambda m: m.update(task={"name": "classes", "settings": {"k": 2}}), "no settings here"),
        (lambda m: m.update(task=boxes()), "boxes"),
        (lambda m: m.update(task=boxes(input=[10**9, 1])), "input"),
        (lambda m: m.update(task=boxes(input=[2, 3])), "the network takes 2x2"),
        (lambda m: m.update(task=boxes(nms_iou=10**400)), "does not fit a 64-bit"),
        (lambda m: m.update(task={"name": "nothing", "settings": {}}), "neither labels nor"),
        (lambda m: m["networks"]["tiny"].update(scores={"mae": 1.0}), "scores are mae, those of"),
        (lambda m: m["networks"]["tiny"].update(scores={"top1": 1.0}), "scores are top1"),
        (lambda m: m["networks"]["tiny"]["scores"].update(mae="0"), "mae"),
        (lambda m: m["samples"].update(targets="../x.npz"), "not listed"),
        (lambda m: [a["outputs"][0].update(shape=[1, 2**60, 7], layout="plain")
                    for a in m["artifacts"]], "too large|output"),
    ],
)  # fmt: skip
def test_manifests_that_are_refused(
    change: Callable[[Any], Any], sentence: str, tmp_path: Path
) -> None:
    folder = numbers_bundle(tmp_path / "b")
    document = parse_json((folder / "manifest.json").read_bytes(), place="m")
    change(document)
    try:
        data = format_json(document)
    except (OverflowError, ValueError):
        data = str(document).encode()
    with pytest.raises(InputError, match=sentence):
        read_manifest(data)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "nothing"])
def test_outputs_that_a_task_cannot_read_are_seen_by_their_shapes(name: str) -> None:
    settings, outputs, _ = example(name, 1, 3)
    task = TASKS[name]
    shapes = [output.shape[1:] for output in outputs]
    task.check_outputs(shapes, settings)
    with pytest.raises(InputError):
        task.check_outputs([], settings)
    assert to_json(settings) == to_json(task.settings.from_json(to_json(settings)))


def test_boxes_of_too_few_numbers_are_refused_before_anything_runs() -> None:
    settings, outputs, _ = example("boxes", 1, 3)
    assert outputs[0].shape[1:] == (12, 7)
    with pytest.raises(InputError, match="has 6 numbers for a candidate"):
        TASKS["boxes"].check_outputs([(12, 6)], settings)
    TASKS["boxes"].check_outputs([(2**22, 6)], settings)  # too large to be tried


def test_outputs_that_are_not_finite_end_no_session(tmp_path: Path) -> None:
    """They make metrics unavailable, and fidelity counts them; other artifacts are fine."""
    folder = numbers_bundle(tmp_path / "b")
    with open_bundle(folder) as bundle:
        inputs, targets = bundle.examples()
        judging = Judging(bundle, inputs, targets)
        entry = next(a for a in bundle.manifest.artifacts if a.precision == "fp32")
        rows = iter([np.full((1, tiny.CLASSES), v, np.float32) for v in (0, 1, np.nan, 1, 1, 1)])
        accuracy, _ = judging.judge(lambda tensors: (next(rows),), entry)
        judging.try_first(lambda tensors: (np.full((1, 7), np.inf, np.float32),), entry)
    assert isinstance(accuracy, TaskScores)
    assert accuracy.score == Unavailable("output 0 is not finite for sample 2")
