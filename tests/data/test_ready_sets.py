"""Data sets of the ready recipes: what they promise, of the pixels themselves."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.pictures import resize
from edgeticket.device_runner.task import TASKS
from edgeticket.pipeline.data import DATASETS, load_dataset
from edgeticket.pipeline.data import super_resolution as pictures
from edgeticket.pipeline.data.examples import Collection, Dataset, Split
from edgeticket.pipeline.data.installed import packaged_file, read_packaged
from edgeticket.pipeline.data.scenes import INK_FROM, Dice, draw_scenes
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.recipe import DataConfig

READY = ("digit_boxes", "digit_masks", "digit_anomaly", "basic_motions", "super_resolution")
SIZES: dict[str, dict[str, int]] = {
    "digit_boxes": {"validation": 100, "calibration": 100, "test": 200},
    "digit_masks": {"validation": 100, "calibration": 100, "test": 200},
    "digit_anomaly": {},
    "basic_motions": {},
    "super_resolution": {},
}


@functools.cache
def collection(name: str) -> Collection:
    return DATASETS[name].load(Path())


@functools.cache
def dataset(name: str) -> Dataset:
    return load_dataset(DataConfig(name=name, **SIZES[name]), seed=3, folder=Path())


def splits(name: str) -> dict[str, Split]:
    whole = dataset(name)
    return {part: getattr(whole, part) for part in ("train", "validation", "calibration", "test")}


# --- digests: the same bytes on every machine, with every version of numpy

DIGESTS = {
    "digit_boxes": "c1a5c3fc",
    "digit_masks": "6a3c9078",
    "digit_anomaly": "d2540b55 0fccd817 afbaddd8 a9d89779",
    "basic_motions": "9c91f37e 4f13c4d1 5775953b 74b868f5",
    "super_resolution": "2428b2c6 7b4fae70 237d27e5 22910940",
}


@pytest.mark.parametrize("name", READY)
def test_a_data_set_is_the_same_bytes_everywhere(name: str) -> None:
    whole = collection(name)
    parts = [whole.pool, whole.validation, whole.calibration, whole.test]
    assert " ".join(digest(part)[:8] for part in parts if part is not None) == DIGESTS[name]


def digest(split: Split) -> str:
    inputs = split.inputs.arrays[0] if isinstance(split.inputs, Tensors) else split.inputs
    right = split.labels.tobytes() if split.labels is not None else b""
    targets = split.targets.digest if split.targets is not None else ""
    return hashlib.sha256(np.asarray(inputs).tobytes() + right + targets.encode()).hexdigest()


@pytest.mark.parametrize("name", READY)
def test_targets_are_what_their_task_takes(name: str) -> None:
    for split in splits(name).values():
        if split.targets is None:
            assert split.labels is not None
            continue
        task = TASKS[split.targets.task.name]
        chosen = task.settings.from_json(dict(split.targets.task.settings))
        task.check(split.targets.arrays, chosen, len(split))


# --- scenes


@pytest.fixture(scope="module")
def digits() -> npt.NDArray[np.uint8]:
    inputs = DATASETS["digits"].load(Path()).pool.inputs
    assert isinstance(inputs, np.ndarray)
    return inputs[:, :, :, 0].astype(np.uint8)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    count=st.integers(1, 30),
    side=st.integers(44, 80),
    low=st.integers(8, 30),
)
def test_scenes_hold_each_digit_once_and_boxes_are_tight(
    digits: npt.NDArray[np.uint8], seed: int, count: int, side: int, low: int
) -> None:
    scenes = draw_scenes(digits[:count], side=side, heights=(low, 40), seed=seed)
    assert sorted(scenes.source.tolist()) == list(range(count))
    assert (np.diff(scenes.sample) >= 0).all()
    ink = scenes.pictures >= INK_FROM
    assert (ink == (scenes.owner > 0)).all()  # so pixels alone tell what was drawn
    for row, (sample, box) in enumerate(zip(scenes.sample, scenes.box, strict=True)):
        rows, columns = np.nonzero(scenes.owner[sample] == row + 1)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == tight


def test_dice_reach_every_number_and_no_other() -> None:
    dice = Dice(7)
    assert {dice.between(3, 6) for _ in range(200)} == {3, 4, 5, 6}
    assert set(dice.many(5, (40, 10)).ravel().tolist()) == set(range(5))
    assert sorted(dice.order(50).tolist()) == list(range(50))


def test_boxes_hold_the_ink_and_nothing_else_does() -> None:
    pool = collection("digit_boxes").pool
    assert pool.targets is not None
    ink = np.asarray(pool.inputs)[..., 0] >= INK_FROM
    arrays = pool.targets.arrays
    for sample, (x1, y1, x2, y2) in zip(
        arrays["sample"], arrays["box"].astype(np.int64).tolist(), strict=True
    ):
        inside = ink[sample, y1:y2, x1:x2]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        ink[sample, y1:y2, x1:x2] = False
    assert not ink.any()


def test_masks_are_where_ink_is() -> None:
    pool = collection("digit_masks").pool
    assert pool.targets is not None
    mask = pool.targets.arrays["mask"]
    assert ((mask > 0) == (np.asarray(pool.inputs)[..., 0] >= INK_FROM)).all()
    assert set(np.unique(mask)) == set(range(11))


def test_scenes_are_labelled_as_the_digits_are(digits: npt.NDArray[np.uint8]) -> None:
    """A digit alone in its scene, made as large as it was, is nearest to those of its class."""
    pool = collection("digit_boxes").pool
    assert pool.targets is not None
    arrays = pool.targets.arrays
    labels = DATASETS["digits"].load(Path()).pool.labels
    assert labels is not None
    right = 0
    known = np.stack([cut(one, one > 0).ravel() for one in digits[::5]])
    for row in range(100):
        x1, y1, x2, y2 = arrays["box"][row].astype(int)
        drawn = np.asarray(pool.inputs)[arrays["sample"][row], y1:y2, x1:x2, 0]
        ink = np.where(drawn >= INK_FROM, 255, 0).astype(np.uint8)
        nearest = np.abs(known - cut(ink, ink > 0).ravel()).mean(axis=1).argmin()
        right += labels[::5][nearest] == arrays["label"][row]
    assert right > 75


def cut(picture: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    step: dict[str, Any] = {"size": [16, 16], "filter": "bilinear"}
    larger = resize(part[np.newaxis, :, :, np.newaxis], step)[0, :, :, 0]
    return np.asarray(larger > 96, np.float64)


# --- nothing is in two splits


@pytest.mark.parametrize("name", ["digit_boxes", "digit_masks", "digit_anomaly"])
def test_no_picture_is_in_two_splits(name: str) -> None:
    rows = [row.tobytes() for split in splits(name).values() for row in np.asarray(split.inputs)]
    assert len(set(rows)) == len(rows)


def test_windows_of_a_recording_are_in_one_split() -> None:
    """Steps are real numbers of six channels, so that two recordings share none."""
    seen: dict[bytes, str] = {}
    repeated = 0
    for name, split in splits("basic_motions").items():
        for window in split.inputs.arrays[0]:  # type: ignore[union-attr]
            for step in window:
                place = seen.setdefault(step.tobytes(), name)
                repeated += place == name
                assert place == name
    assert repeated > 0


def test_each_picture_is_in_one_split() -> None:
    titles = [title for part in pictures.PICTURES.values() for title in part]
    assert len(set(titles)) == len(titles)


def test_pictures_at_half_their_size_are_made_of_the_large_ones() -> None:
    """Away from the edges of a piece, as the piece itself at half its size."""
    for split in splits("super_resolution").values():
        assert split.targets is not None
        large = (split.targets.arrays["image"][:40] * 255).round().astype(np.uint8)
        step: dict[str, Any] = {"size": [32, 32], "filter": "bicubic"}
        half = resize(np.moveaxis(large, 1, -1), step)[:, 4:-4, 4:-4]
        assert (half == np.asarray(split.inputs)[:40, 4:-4, 4:-4]).all()


def test_a_network_that_learns_zeros_sees_no_other_digit() -> None:
    parts = splits("digit_anomaly")
    unusual = {n: s.targets.arrays["anomalous"] for n, s in parts.items() if s.targets is not None}
    assert not unusual["train"].any()
    assert not unusual["calibration"].any()
    assert unusual["test"].sum() == 450
    assert (unusual["test"] == 0).sum() == 100
    for split in parts.values():
        assert split.targets is not None
        stored = np.moveaxis(np.asarray(split.inputs), -1, 1)
        assert ((split.targets.arrays["input"] * 255).round() == stored).all()


# --- files of packages


def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(InputError, match="package nowhere_a or nowhere_b: pip install nowhere_a"):
        packaged_file(("nowhere_a", "nowhere_b"), "x", title="the things", install="nowhere_a")


def test_a_package_without_the_file_is_passed_over() -> None:
    place = packaged_file(("nowhere", "numpy"), "__init__.py", title="the things", install="numpy")
    assert place.name == "__init__.py"
    with pytest.raises(InputError, match="come with the package numpy"):
        packaged_file(("numpy",), "no/such/file", title="the things", install="numpy")


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "grass.png"
    file.write_bytes(b"another")
    with pytest.raises(InputError, match=r"grass\.png is not the file"):
        read_packaged(file, sha256="0" * 64)
    with pytest.raises(InputError, match="cannot read"):
        read_packaged(tmp_path, sha256="0" * 64)
