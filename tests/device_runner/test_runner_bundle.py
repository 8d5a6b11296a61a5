"""Reading bundles: whole ones are read, everything else is refused with one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import pytest
import runner_fixtures as tiny

from edgeticket.device_runner.bundle import FILE_LIMIT_BYTES, open_bundle
from edgeticket.device_runner.check import check_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import FileEntry, write_manifest
from edgeticket.device_runner.npy import format_npy, parse_npy

FILES = tiny.tiny_files()
MANIFEST = write_manifest(tiny.tiny_manifest(FILES))
WHOLE = {**FILES, "manifest.json": MANIFEST}
HOSTILE = mutations.hostile_zips(WHOLE)


def write_zip(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_bundle(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def replaced(path: str, data: bytes) -> dict[str, bytes]:
    """The tiny bundle with one file exchanged and the manifest made to fit."""
    files = {**FILES, path: data}
    return {**files, "manifest.json": write_manifest(tiny.tiny_manifest(files))}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_reads_what_was_written(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    else:
        path = write_zip(tmp_path / "b.zip", mutations.pack(WHOLE))
    with open_bundle(path) as bundle:
        assert bundle.manifest == tiny.tiny_manifest(FILES)
        assert bundle.digest == hashlib.sha256(MANIFEST).hexdigest()
        assert {name: bundle.read(name) for name in FILES} == FILES
        inputs, labels = bundle.samples()
    expected = tiny.samples(40)
    np.testing.assert_array_equal(inputs, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert check_bundle(path) == tiny.tiny_manifest(FILES)


def test_reading_a_folder_writes_nothing(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    before = sorted((p, p.stat().st_mtime_ns) for p in path.rglob("*"))
    check_bundle(path)
    assert sorted((p, p.stat().st_mtime_ns) for p in path.rglob("*")) == before


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file_is_found(tmp_path: Path, name: str) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    assert f"{name} is not the file that manifest.json describes" in refused(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(lambda data: data[:-1], "and has only"), (lambda data: data + b"x", "and has more")],
)
def test_another_size_is_found(
    tmp_path: Path, change: Callable[[bytes], bytes], sentence: str
) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    (path / "models/ort-int8.onnx").write_bytes(change(FILES["models/ort-int8.onnx"]))
    assert sentence in refused(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    (path / "samples/labels.npy").unlink()
    assert "samples/labels.npy is missing" in refused(path)
    (path / "manifest.json").unlink()
    assert "manifest.json is missing" in refused(path)


def test_an_unlisted_file_is_never_opened(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    (path / "notes.txt").write_text("mine")
    with (
        open_bundle(path) as bundle,
        pytest.raises(InputError, match=r"'notes\.txt' is not listed"),
    ):
        bundle.read("notes.txt")


@pytest.mark.parametrize("where", ["file", "folder", "manifest"])
def test_links_below_the_root_are_refused(tmp_path: Path, where: str) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    victim = {
        "file": path / "models/ort-fp32.onnx",
        "folder": path / "models",
        "manifest": path / "manifest.json",
    }[where]
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    assert "links are not followed" in refused(path)


def test_a_link_to_the_whole_bundle_is_the_users_own(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    (tmp_path / "link").symlink_to(path)
    check_bundle(tmp_path / "link")


def test_things_that_are_not_files_do_not_block(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    victim = path / "models/ort-fp32.onnx"
    victim.unlink()
    os.mkfifo(victim)
    assert "not a regular file" in refused(path)
    victim.unlink()
    victim.mkdir()
    assert "models/ort-fp32.onnx" in refused(path)
    victim.rmdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(victim.parent)  # socket names are short
        try:
            server.bind(victim.name)
        finally:
            os.chdir(here)
        assert "cannot read models/ort-fp32.onnx" in refused(path)


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_zips_are_refused(tmp_path: Path, attack: str) -> None:
    path = write_zip(tmp_path / "b.zip", HOSTILE[attack])
    refused(path)
    assert os.listdir(tmp_path) == ["b.zip"]


def test_hostile_zips_are_refused_for_their_own_reason(tmp_path: Path) -> None:
    sentences = {
        attack: refused(write_zip(tmp_path / f"{i}.zip", data))
        for i, (attack, data) in enumerate(HOSTILE.items())
    }
    for attack in ("parent", "absolute", "drive", "backslash", "nul", "inner parent"):
        assert "is not allowed: paths are relative" in sentences[attack]
    for attack in ("link", "unlisted link", "device"):
        assert "is a link or a device" in sentences[attack]
    assert "is in the zip twice" in sentences["twice"]
    assert "claims to inflate more than" in sentences["bomb"]
    assert "make the zip without a password" in sentences["encrypted"]
    assert "claims more bytes than the zip has" in sentences["lying sizes"]
    assert "another method than deflate" in sentences["method"]
    assert "zip the contents of the folder" in sentences["nested"]
    assert "no usable zip" in sentences["truncated"]


def test_a_zip_that_inflates_beyond_the_manifest_is_cut_off(tmp_path: Path) -> None:
    # Below the ratio limit, so that only the streamed read can stop it.
    data = random.Random(1).randbytes(20_000) * 1000
    files = {**WHOLE, "models/ort-fp32.onnx": data}
    path = write_zip(tmp_path / "b.zip", mutations.pack(files))
    tracemalloc.start()
    try:
        assert "models/ort-fp32.onnx should have" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # the peak; the file has 20 MB
    finally:
        tracemalloc.stop()


def test_a_huge_claim_allocates_nothing(tmp_path: Path) -> None:
    entries = [
        replace(entry, size_bytes=FILE_LIMIT_BYTES) if entry.path.endswith("inputs.npy") else entry
        for entry in tiny.tiny_manifest(FILES).files
    ]
    manifest = write_manifest(replace(tiny.tiny_manifest(FILES), files=tuple(entries)))
    paths = (
        tiny.write_folder(tmp_path / "b", FILES, manifest),
        write_zip(tmp_path / "b.zip", mutations.pack({**FILES, "manifest.json": manifest})),
    )
    tracemalloc.start()
    try:
        for path in paths:
            assert f"should have {FILE_LIMIT_BYTES} bytes" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000  # the peak
    finally:
        tracemalloc.stop()


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    huge = FileEntry("huge.bin", FILE_LIMIT_BYTES + 1, "0" * 64)
    manifest = tiny.tiny_manifest(FILES)
    manifest = replace(manifest, files=(*manifest.files, huge))
    path = tiny.write_folder(tmp_path / "b", FILES, write_manifest(manifest))
    assert "more than the limit" in refused(path)


def test_a_huge_manifest_is_not_parsed(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "b", FILES, b" " * (9 * 2**20) + MANIFEST)
    assert "is larger than" in refused(path)


@pytest.mark.parametrize("path", ["nowhere", "file", "a\x00b", "x" * 5000])
def test_what_is_no_bundle_at_all(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("hello")
    refused(tmp_path / path)


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "array",
    [
        header("|u1", "(1000000000000000, 1, 1, 1)") + b"x",
        header("|u1", "(99999999999999999999, 1, 1, 1)") + b"x",
        # The product of these three is 1 in 64 bits.
        header("|u1", "(867391266194030085, 115222893856225369, 622010293405043605, 1)") + b"x",
        header("|u1", "(0, 2, 2, 3)"),
        header("|u1", "(-1, 2, 2, 3)") + b"x",
        header("|O", "(1, 1, 1, 1)") + b"x",
        header("|u1", "(40, 2, 2, 3)") + b"x" * 479,
        header("|u1", "__import__('os').system('true')"),
        format_npy(np.zeros((40, 2, 2, 3), np.float64)),
        format_npy(np.full((40, 2, 2, 3), np.nan, np.float32)),
        format_npy(np.zeros(40, np.uint8)),
        format_npy(np.asfortranarray(np.zeros((40, 2, 2, 3), np.uint8))),
        FILES["samples/inputs.npy"].replace(b"NUMPY\x01", b"NUMPY\x02"),
        FILES["samples/inputs.npy"][:50],
        FILES["samples/inputs.npy"] + b"x",
        b"",
        b"\x93NUMPY\x01\x00\xff\xff",
    ],
)
def test_hostile_arrays_are_refused(tmp_path: Path, array: bytes) -> None:
    files = replaced("samples/inputs.npy", array)
    path = tiny.write_folder(tmp_path / "b", files, files["manifest.json"])
    assert "samples/inputs.npy" in refused(path)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.full(40, 7), "labels from 7 to 7, but manifest.json names 7 classes"),
        (np.full(40, -1), "labels from -1 to -1"),
        (np.zeros(39), "40 inputs and 39 labels"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: Any, sentence: str) -> None:
    files = replaced("samples/labels.npy", format_npy(labels.astype(np.int64)))
    path = tiny.write_folder(tmp_path / "b", files, files["manifest.json"])
    assert sentence in refused(path)


def test_samples_that_no_artifact_takes(tmp_path: Path) -> None:
    files = replaced("samples/inputs.npy", format_npy(np.zeros((40, 4, 2, 3), np.uint8)))
    path = tiny.write_folder(tmp_path / "b", files, files["manifest.json"])
    assert "artifact tiny-ort-fp32: samples give shape [3, 4, 2]" in refused(path)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_npy_round_trip(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    found = parse_npy(format_npy(array), dtypes=[dtype], ranks=[3], place="x")
    np.testing.assert_array_equal(found, array)
    assert not found.flags.writeable


def test_fuzzed_bundles_are_read_or_refused(tmp_path: Path) -> None:
    """1,700 damaged bundles, as zips and folders: success or InputError, nothing else."""
    rng = random.Random(0)
    document, whole = json.loads(MANIFEST), mutations.pack(WHOLE)
    folder = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    outcomes = {"read": 0, "refused": 0}

    def attempt(path: Path) -> None:
        try:
            check_bundle(path)
        except InputError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1

    for _ in range(600):
        attempt(write_zip(tmp_path / "b.zip", mutations.mutate_bytes(rng, whole)))
    for _ in range(500):
        changed = json.dumps(mutations.mutate_json(rng, document)).encode()
        (folder / "manifest.json").write_bytes(changed)
        attempt(folder)
    for _ in range(400):
        mutate = rng.choice(list(mutations.MUTATIONS.values()))
        (folder / "manifest.json").write_bytes(mutate(rng, MANIFEST))
        attempt(folder)
    for _ in range(200):  # damaged arrays whose hashes are right
        name = rng.choice(("samples/inputs.npy", "samples/labels.npy"))
        files = replaced(name, mutations.mutate_bytes(rng, FILES[name]))
        tiny.write_folder(folder, {name: files[name]}, files["manifest.json"])
        attempt(folder)
        (folder / name).write_bytes(FILES[name])
    assert sum(outcomes.values()) == 1700
    assert outcomes["refused"] > 1000  # the damage is real
    assert outcomes["read"] > 10  # and not all of it is fatal: provenance is free


def test_zip_entries_may_carry_plain_modes(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    folder = tiny.write_folder(tmp_path / "b", FILES, MANIFEST)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))  # folders too, as `zip -r` does
    check_bundle(path)


def test_a_run_s_folder_says_where_its_bundle_is(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InputError, match=r"manifest\.json is missing$"), open_bundle(tmp_path):
        pass
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"is missing: give .*bundle$"), open_bundle(tmp_path):
        pass
