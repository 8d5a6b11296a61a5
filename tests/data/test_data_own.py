"""Data of one's own: pictures in folders, arrays, functions."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from picture_fixtures import colours, write_pictures
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import capture, preprocess
from edgeticket.models.imported import look_in
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.data import Dataset, Rows, Split, decoded, load_dataset
from edgeticket.pipeline.data.decode import decode
from edgeticket.pipeline.data.folder import Listing, list_folder
from edgeticket.pipeline.progress import Quiet
from edgeticket.pipeline.recipe import DataConfig, TrainConfig
from edgeticket.pipeline.train import train

SIZES = {"validation": 4, "calibration": 4, "test": 8}


def load(place: Path, **keys: Any) -> Dataset:
    given = {"folder": str(place / "pictures"), "resize": 20, "crop": 16, **SIZES, **keys}
    cfg = DataConfig(**{key: value for key, value in given.items() if value is not None})
    return load_dataset(cfg, seed=0, folder=place, beside=(place,))


def rows(split: Split) -> list[bytes]:
    return [picture.tobytes() for picture in split.inputs[:]]


def refusal(place: Path, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(place, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", per_class=10)
    return tmp_path


def test_pictures_are_what_torchvision_makes_of_them(folder: Path) -> None:
    """Names to numbers, and pixels to the byte; the manifest's steps lead to the same."""
    data = load(folder)
    assert data.labels == ("blue", "green", "red")
    tv = import_torchvision()
    theirs = tv.transforms.Compose([tv.transforms.Resize(20), tv.transforms.CenterCrop(16)])
    expected = {}
    for path, label in tv.datasets.ImageFolder(folder / "pictures").samples:
        picture = Image.open(path).convert("RGB")
        expected[np.asarray(theirs(picture)).tobytes()] = label
        assert capture(decode(Path(path))[None], data.capture)[0].tobytes() in expected
    found = {}
    for split in (data.train, data.validation, data.calibration, data.test):
        found |= dict(
            zip([i.tobytes() for i in split.inputs[:]], split.labels.tolist(), strict=True)
        )
    assert len(found) == 30
    assert found == expected


def test_official_splits_are_kept(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "train", per_class=6)
    write_pictures(tmp_path / "pictures" / "val", per_class=2, seed=1)
    both = load(tmp_path, test=None, validation=3)
    assert [len(s) for s in (both.train, both.validation, both.calibration, both.test)] == [
        *(11, 3, 4, 6)
    ]
    write_pictures(tmp_path / "pictures" / "test", per_class=1, seed=2)
    three = load(tmp_path, test=None, validation=3)
    assert [len(s) for s in (three.train, three.validation, three.calibration, three.test)] == [
        *(14, 3, 4, 3)
    ]
    assert {x.tobytes() for x in three.validation.inputs[:]} <= {
        x.tobytes() for x in both.test.inputs[:]
    }


def test_large_sets_stay_on_disk_and_train_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(data: Dataset) -> torch.Tensor:
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 3, 3))
        torch.nn.init.zeros_(module[1].weight)
        torch.nn.init.zeros_(module[1].bias)
        cfg = TrainConfig(epochs=2, batch_size=4, augment="crop_flip")
        train(module, data.train, cfg, preprocessing=data.preprocessing, seed=0)
        return module[1].weight

    small = load(folder)
    monkeypatch.setattr(decoded, "IN_MEMORY_BYTES", 0)
    large = load(folder)
    assert isinstance(large.train.inputs, Rows)
    assert not isinstance(small.train.inputs, Rows)
    assert large.digest == small.digest
    assert torch.equal(trained(small), trained(large))


def test_decoding_goes_on_where_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(folder).digest
    write_pictures(folder / "again" / "pictures", per_class=10)
    seen: list[str] = []

    def stop_at(limit: int) -> None:
        def counted(path: Path) -> npt.NDArray[np.uint8]:
            seen.append(path.name)
            if len(seen) > limit:
                raise KeyboardInterrupt
            return decode(path)

        monkeypatch.setattr(decoded, "decode", counted)

    monkeypatch.setattr(decoded, "BLOCK", 5)
    stop_at(12)
    with pytest.raises(KeyboardInterrupt):
        load(folder / "again")
    seen.clear()
    stop_at(1000)
    assert load(folder / "again").digest == whole
    assert len(seen) == 20  # two blocks of five were done


PLAIN = colours(40, 30, seed=3)


def _sixteen_bits(path: Path) -> None:
    grey = PLAIN[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


SAVED: Mapping[str, Any] = {
    "grey.png": lambda path: Image.fromarray(PLAIN[..., 0]).save(path),
    "sixteen.png": _sixteen_bits,
    "sixteen.tif": _sixteen_bits,
    "grey_alpha.png": lambda path: Image.fromarray(PLAIN[..., 0]).convert("LA").save(path),
    "one_bit.png": lambda path: Image.fromarray(PLAIN[..., 0]).convert("1").save(path),
}


@pytest.mark.parametrize("name", SAVED)
def test_grey_pictures_have_three_equal_channels(tmp_path: Path, name: str) -> None:
    SAVED[name](tmp_path / name)
    found = decode(tmp_path / name)
    grey = PLAIN[..., 0]
    if name == "one_bit.png":
        grey = np.asarray(Image.fromarray(grey).convert("1").convert("L"))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))


def test_palettes_transparency_and_cmyk_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(PLAIN)
    palette = image.quantize(32)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(32)))
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(tmp_path / "palette.png"), expected)
    image.putalpha(7)
    image.save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(decode(tmp_path / "alpha.png"), PLAIN)
    smooth = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(decode(tmp_path / "cmyk.jpg").astype(int) - smooth).max() <= 3


def test_pictures_are_turned_as_the_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera stood on its right side
    Image.fromarray(PLAIN).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "turned.png"), np.rot90(PLAIN, -1))


def test_a_picture_of_one_pixel_is_a_picture(folder: Path) -> None:
    Image.new("RGB", (1, 1), (9, 8, 7)).save(folder / "pictures" / "red" / "one.png")
    data = load(folder)
    splits = (data.train, data.validation, data.calibration, data.test)
    assert bytes((9, 8, 7)) * 256 in [row for split in splits for row in rows(split)]


def _damage(name: str, data: bytes) -> Any:
    return lambda root: (root / "red" / name).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "keys", "message"),
    [
        (_damage("x.jpg", b""), {}, "red/x.jpg is no whole picture"),
        (_damage("x.png", b"\x89PNG\r\n\x1a\n" + bytes(50)), {}, "red/x.png is no whole picture"),
        (lambda root: (root / "grey").mkdir(), {}, "grey has no pictures: remove the folder"),
        (
            lambda root: [(root / "a").mkdir(), (root / "a/b.heic").write_bytes(b"x")],
            {},
            "a has no pictures .but .heic",
        ),
        (None, {"resize": None, "crop": 50}, "too few to cut 50x50 out"),
        (None, {"folder": "nothing"}, "no folder nothing .looked for"),
        (None, {"validation": 40}, "data.validation 40 .* but pictures has 30 to be split"),
        (None, {"classes": "classes.txt"}, "no file classes.txt"),
        (None, {"mean": (1.0,), "std": (1.0,)}, "pictures has 3 channels, so give 3 numbers"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, damage: Any, keys: dict[str, Any], message: str
) -> None:
    if damage is not None:
        damage(folder / "pictures")
    with pytest.raises(InputError, match=message):
        load(folder, **keys)


def test_a_truncated_picture_is_named(folder: Path) -> None:
    path = next((folder / "pictures" / "red").glob("*.png"))
    path.write_bytes(path.read_bytes()[:-200])
    assert f"1 of 30 pictures cannot be used: {path} is no whole picture" in refusal(folder)


def test_classes_may_be_numbered_by_a_file(folder: Path) -> None:
    (folder / "classes.csv").write_text("wnid,index,name\nred,4,rosso\nblue,0,blu\ngreen,2,verde\n")
    data = load(folder, classes="classes.csv")
    assert data.labels == ("blu", "class 1", "verde", "class 3", "rosso")
    assert set(data.train.labels.tolist()) == {0, 2, 4}
    (folder / "classes.txt").write_text("red\ngreen\n")
    assert "has blue, which the classes do not" in refusal(folder, classes="classes.txt")
    (folder / "classes.txt").write_text("red\ngreen\nred\n")
    assert "each once" in refusal(folder, classes="classes.txt")


def test_imagenet_says_itself_which_class_is_which(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "train", per_class=6)
    write_pictures(tmp_path / "pictures" / "val", per_class=2, seed=1)
    names = {"green": ("leaf", "grass"), "blue": ("sky",), "red": ("rose",), "black": ("crow",)}
    torch.save((names, ["red"]), tmp_path / "pictures" / "meta.bin")
    data = load(tmp_path, test=None)
    assert data.labels == ("crow", "sky", "leaf", "rose")
    assert set(data.test.labels.tolist()) == {1, 2, 3}
    (tmp_path / "pictures" / "meta.bin").write_bytes(b"x")
    assert "meta.bin is not what torchvision" in refusal(tmp_path, test=None)


def test_train_and_test_need_one_another(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "val", per_class=2)
    assert "has val/ but no train/" in refusal(tmp_path)
    (tmp_path / "pictures" / "val").rename(tmp_path / "pictures" / "train")
    assert "has train/ alone" in refusal(tmp_path)


ARRAYS = {
    "inputs": np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3)).astype(np.uint8),
    "labels": np.arange(40, dtype=np.int32) % 4,
}


def test_arrays_in_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **ARRAYS, classes=np.array(list("abcd")))
    data = load(tmp_path, folder=None, npz="mine.npz", resize=None, crop=None)
    assert data.name == "mine"
    assert data.labels == ("a", "b", "c", "d")
    assert data.input_shape == (3, 20, 20)
    cut = load(tmp_path, folder=None, npz="mine.npz", resize=None)
    np.testing.assert_array_equal(cut.train.inputs[:], data.train.inputs[:, 2:18, 2:18])
    assert cut.capture == ({"op": "center_crop", "size": [16, 16]},)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ARRAYS["labels"][:-1]}, r"labels are int32 \[39\]: .* whole numbers \[40\]"),
        ({"labels": ARRAYS["labels"] / 2}, "labels are float64"),
        ({"labels": ARRAYS["labels"] - 1}, "labels go from -1 to 2"),
        ({"inputs": None}, "has labels, but no inputs"),
        ({"inputs": ARRAYS["inputs"] / 255}, "inputs are float64 .* must be uint8"),
        ({"inputs": ARRAYS["inputs"].transpose(0, 3, 1, 2)}, "looks like channels first"),
        ({"classes": np.array(["a"])}, "labels go to 3, but classes names 1"),
        ({"inputs": np.array([object()])}, "is no whole .npz of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    arrays = {k: v for k, v in {**ARRAYS, **changed}.items() if v is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load(tmp_path, folder=None, npz="mine.npz")


def test_a_function_may_bring_them(tmp_path: Path) -> None:
    (tmp_path / "their_data.py").write_text(
        "import numpy as np\n"
        "def make(count):\n"
        "    rng = np.random.default_rng(0)\n"
        "    return rng.integers(0, 256, (count, 16, 16), np.uint8), np.arange(count) % 2\n"
        "def fail(): raise ValueError('the disk is not there')\n"
        "def none(): return None\n"
    )
    look_in((tmp_path,))
    function = {"folder": None, "resize": None, "crop": None, "args": {"count": 40}}
    data = load(tmp_path, factory="their_data:make", **function)
    assert data.input_shape == (1, 16, 16)
    assert data.preprocessing == ({"op": "normalize", "mean": [127.5], "std": [127.5]},)
    function["args"] = {}
    for name, message in {
        "their_data:fail": "data.factory: their_data:fail raised ValueError: the disk is not there",
        "their_data:make": "data.factory: their_data:make raised TypeError: make.. missing",
        "their_data:none": "returned a NoneType: it should return",
        "their_data:absent": "their_data has no function absent .it has make, fail, none",
        "absent_data:make": "no module absent_data",
        "their_data": "should be written package.module:function",
    }.items():
        with pytest.raises(InputError, match=message):
            load(tmp_path, factory=name, **function)
    del sys.modules["their_data"]


def test_the_digest_of_preprocessed_samples_is_the_runners(folder: Path) -> None:
    data = load(folder, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 3.0))
    values = preprocess(data.test.inputs[:], data.preprocessing)
    expected = (data.test.inputs[:].astype(np.float32) - [10, 20, 30]) / np.float32([1, 2, 3])
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    assert json.loads(json.dumps(data.capture)) == [
        {"op": "resize", "shorter": 20, "filter": "bilinear"},
        {"op": "center_crop", "size": [16, 16]},
    ]


def test_csv_reader_is_strict_about_numbers(folder: Path) -> None:
    with (folder / "classes.csv").open("w") as file:
        csv.writer(file).writerows([["folder", "index"], ["red", "x"]])
    assert "is no whole table" in refusal(folder, classes="classes.csv")


@pytest.mark.parametrize("pictures", [2, 5, 67, 700])
def test_sizes_that_are_not_given_fit_the_folder(pictures: int, tmp_path: Path) -> None:
    """The defaults are for data sets of thousands."""
    write_pictures(tmp_path / "p", per_class=pictures, side=8)
    config = DataConfig(folder=str(tmp_path / "p"), resize=8, crop=8)
    said: list[str] = []

    class Told(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    data = load_dataset(config, seed=0, folder=tmp_path, progress=Told())
    sizes = {name: len(getattr(data, name)) for name in ("validation", "calibration", "test")}
    assert sum(sizes.values()) + len(data.train) == 3 * pictures
    assert min(*sizes.values(), len(data.train)) >= 1
    assert len(data.train) >= pictures
    assert any(f"{sizes['validation']} validation" in line for line in said)
    for name in ("validation", "train"):
        split = getattr(data, name)
        if len(split) >= 3 and pictures > 5:
            assert set(split.labels.tolist()) == {0, 1, 2}


def test_sizes_that_are_given_are_kept_or_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", per_class=67, side=8)
    config = {"folder": str(tmp_path / "p"), "resize": 8, "crop": 8}
    data = load_dataset(DataConfig(**config, test=40), seed=0, folder=tmp_path)
    assert (len(data.test), len(data.validation), len(data.calibration)) == (40, 20, 20)
    with pytest.raises(InputError) as caught:
        load_dataset(DataConfig(**config, validation=5000), seed=0, folder=tmp_path)
    for part in ("data.validation 5000", "data.train", "p has 201", "validation: 20, calibration"):
        assert part in str(caught.value)


def test_what_is_passed_over_is_told_by_name(tmp_path: Path) -> None:
    root = tmp_path / "p"
    write_pictures(root, per_class=4, side=8)
    (root / "notes.txt").write_text("")
    (root / "classes.csv").write_text("folder\nred\ngreen\nblue\n")
    (root / "red" / "deep").mkdir()
    (root / "red" / "loop").symlink_to(root)
    for name in ("deep/1.txt", "b.mp4", "Thumbs.db"):
        (root / "red" / name).write_text("")
    sentences: list[str] = []

    class Ear(Quiet):
        def say(self, line: str) -> None:
            sentences.append(line)

    sizes = {"validation": 3, "calibration": 1, "test": 3, "resize": 8, "crop": 8}
    config = DataConfig(folder=str(root), classes=str(root / "classes.csv"), **sizes)
    load_dataset(config, seed=0, folder=tmp_path, progress=Ear())
    assert sentences == [
        f"passed over in {root}, no plain pictures: notes.txt, red/b.mp4, red/loop, red/deep/1.txt"
    ]
    (root / "blue" / "x.txt").write_text("")
    torch.save(({name: (name,) for name in ("red", "green", "blue")}, []), root / "meta.bin")
    list_folder(root, classes=None).pool.tell_passed_over(sentences.append)
    assert sentences[1].endswith("classes.csv, notes.txt, blue/x.txt, red/b.mp4 and 2 more")
    nothing = Listing(root, (), np.zeros(0, np.int64))
    nothing.tell_passed_over(sentences.append)
    assert len(sentences) == 2


def test_what_is_no_plain_picture_is_passed_over(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", per_class=4, side=8)
    red = tmp_path / "p" / "red"
    (red / "0.png").rename(red / "0.PNG")
    for name in (".DS_Store", "._1.png", "Thumbs.db", "desktop.ini"):
        (red / name).write_bytes(b"x")
    (tmp_path / "p" / "__MACOSX").mkdir()
    os.mkfifo(red / "pipe.png")
    (red / "endless.jpg").symlink_to("/dev/zero")
    (red / "away.jpg").symlink_to(tmp_path / "none")
    layout = list_folder(tmp_path / "p", classes=None)
    assert [f for f in layout.pool.files if f.startswith("red")] == [
        f"red/{name}" for name in ("0.PNG", "1.png", "2.png", "3.png")
    ]
    assert layout.pool.passed_over == ("red/away.jpg", "red/endless.jpg", "red/pipe.png")
    for name, reason in (("pipe.png", "named pipe"), ("endless.jpg", "a device")):
        with pytest.raises(InputError, match=reason):
            decode(red / name)
