"""Examples that lie on the device: arrays, folders per class, PNG files; and what is refused."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import runner_fixtures as tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeticket.device_runner.bench import bench
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.png import parse_png
from edgeticket.device_runner.samples import read_folder

CLASSES = tuple("abcdefg")
SHAPE = (2, 2, 3)


def png(array: np.ndarray) -> bytes:
    """As Pillow writes it."""
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, "PNG")
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1), smooth=st.booleans(),
)  # fmt: skip
def test_png_as_pillow_writes_it(
    height: int, width: int, channels: int, seed: int, smooth: bool
) -> None:
    """Smooth pictures make the encoder use all five filters."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    if smooth:
        picture = np.cumsum(picture // 64, axis=int(rng.integers(0, 2))).reshape(-1)[
            : height * width * channels
        ].reshape(height, width, channels).astype(np.uint8)  # fmt: skip
    np.testing.assert_array_equal(parse_png(png(picture), place="x"), picture)


def filtered(kind: int, picture: np.ndarray) -> bytes:
    """A PNG whose every line has one filter, by the specification's own formulas."""
    height, width, channels = picture.shape
    lines = b""
    for y in range(height):
        row = picture[y].reshape(-1).astype(int)
        up = picture[y - 1].reshape(-1).astype(int) if y else np.zeros_like(row)
        left = np.concatenate([np.zeros(channels, int), row[:-channels]])
        corner = np.concatenate([np.zeros(channels, int), up[:-channels]])
        estimate = left + up - corner
        distance = np.stack([abs(estimate - left), abs(estimate - up), abs(estimate - corner)])
        paeth = np.choose(distance.argmin(axis=0), [left, up, corner])
        guess = [np.zeros_like(row), left, up, (left + up) // 2, paeth][kind]
        lines += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("kind", range(5))
def test_every_filter(kind: int) -> None:
    picture = np.random.default_rng(kind).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    data = filtered(kind, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    np.testing.assert_array_equal(parse_png(data, place="x"), picture)


GOOD = png(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))


@given(cut=st.integers(0, len(GOOD) - 1), flip=st.integers(0, 255))
def test_damaged_png_is_refused_in_a_sentence(cut: int, flip: int) -> None:
    for data in (GOOD[:cut], GOOD[:cut] + bytes([flip]) + GOOD[cut + 1 :]):
        if zlib.crc32(data) == zlib.crc32(GOOD):
            continue
        with pytest.raises(InputError, match=r"^p\.png is "):
            parse_png(data, place="p.png")


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "I;16", "1"])
def test_kinds_of_png_that_are_not_read(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (3, 3)).save(file, "PNG")
    with pytest.raises(InputError, match="save it as 8-bit grey or RGB"):
        parse_png(file.getvalue(), place="p.png")


def test_a_huge_promise_is_refused_before_memory_is_taken() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IEND", b""))
    )
    with pytest.raises(InputError, match="no network takes that"):
        parse_png(data, place="p.png")


def test_accuracy_over_a_folder_is_that_over_the_bundle(tmp_path: Path) -> None:
    path = tiny.write_tiny_bundle(tmp_path / "b", 40)
    inputs, labels = tiny.samples(40)
    arrays, folders = tmp_path / "arrays", tmp_path / "folders"
    arrays.mkdir()
    (arrays / "inputs.npy").write_bytes(tiny.npy(inputs))
    (arrays / "labels.npy").write_bytes(tiny.npy(labels))
    for i, (example, label) in enumerate(zip(inputs, labels, strict=True)):
        folder = folders / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        name, data = (f"{i}.png", png(example)) if i % 2 else (f"{i}.npy", tiny.npy(example))
        (folder / name).write_bytes(data)
    asked = {"plan": tiny.QUICK, "artifact": "tiny-tflite-int8"}
    (whole,) = bench(path, **asked)
    (first,) = bench(path, samples=arrays, **asked)
    (second,) = bench(path, samples=folders, **asked)
    assert first.accuracy == whole.accuracy
    assert (second.accuracy.count, second.accuracy.top1) == (40, whole.accuracy.top1)


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


INPUTS, LABELS = (tiny.npy(array) for array in tiny.samples(5))
PICTURE = tiny.npy(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "neither a number nor a folder"),
        ({"x.txt": b""}, "neither inputs.npy and labels.npy nor a folder"),
        ({"inputs.npy": INPUTS}, "cannot read .*labels.npy: No such file"),
        ({"inputs.npy": INPUTS, "labels.npy": tiny.npy(np.arange(4))}, r"and 4 labels"),
        ({"inputs.npy": INPUTS, "labels.npy": tiny.npy(np.arange(5) + 5)}, "labels from 5 to 9"),
        ({"inputs.npy": b"x", "labels.npy": LABELS}, "is not a .npy file"),
        ({"z/1.png": GOOD}, "named like no class of the bundle"),
        ({"a/1.jpg": b""}, r"per class \(but a/1.jpg\): examples are .npy and .png"),
        ({"a/Thumbs.db": b"", "a/._1.png": b""}, r"per class: examples are .npy and .png"),
        ({"a/1.npy": PICTURE}, r"is \[9, 9, 3\], the network takes \[2, 2, 3\]: resize it"),
        ({"a/1.png": b"no"}, "is not a PNG file"),
    ],
)
def test_folders_that_cannot_be_used(
    tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_folder(lay_out(tmp_path / "s", files), shape=SHAPE, classes=CLASSES)


def test_plain_files_alone_are_read(tmp_path: Path) -> None:
    """A pipe would wait for ever, a device never end; what systems leave there nobody means."""
    left = {"a/.DS_Store": b"", "a/._1.png": b"\0", "b/Thumbs.db": b"", "__MACOSX/a/1.png": b""}
    files = {"a/1.PNG": GOOD, "b/2.Npy": tiny.npy(np.zeros(SHAPE, np.uint8)), "a/notes.txt": b""}
    folder = lay_out(tmp_path / "s", files | left)
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "b" / "endless.npy").symlink_to("/dev/zero")
    (folder / "b" / "nowhere.png").symlink_to(tmp_path / "none")
    (folder / "b" / "linked.png").symlink_to(folder / "a" / "1.PNG")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "a" / "s.npy"))
    sentences: list[str] = []
    inputs, labels = read_folder(folder, shape=SHAPE, classes=CLASSES, tell=sentences.append)
    assert labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(inputs[0], inputs[2])
    (sentence,) = sentences
    for name in ("a/notes.txt", "a/pipe.png", "a/s.npy", "b/endless.npy and 1 more"):
        assert name in sentence
    assert "DS_Store" not in sentence


@pytest.mark.parametrize("name", ["inputs.npy", "labels.npy"])
def test_arrays_that_are_no_plain_files(name: str, tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "s", {"inputs.npy": INPUTS, "labels.npy": LABELS})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match=f"{name}: it is a named pipe, not a plain file"):
        read_folder(folder, shape=SHAPE, classes=CLASSES)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name}: it is a device, not a plain file"):
        read_folder(folder, shape=SHAPE, classes=CLASSES)


def test_a_png_of_many_small_parts_takes_no_longer_than_its_bytes() -> None:
    parts = b"".join(
        struct.pack(">I", 1) + b"IDAT" + b"x" + struct.pack(">I", zlib.crc32(b"IDATx"))
        for _ in range(200_000)
    )
    data = GOOD[:33] + parts + GOOD[-12:]
    with pytest.raises(InputError, match="is damaged"):
        parse_png(data, place="p.png")
