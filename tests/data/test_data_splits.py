"""Sizes at their edges, seeds of official splits, and what a digest sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from picture_fixtures import write_pictures

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset, Split, Teacher, load_dataset
from edgeticket.pipeline.data.examples import DIGESTED
from edgeticket.pipeline.data.sizes import fitting_sizes
from edgeticket.pipeline.recipe import DataConfig


def some(count: int) -> Split:
    rng = np.random.default_rng(count)
    return Split(
        rng.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8), np.arange(count, dtype=np.int64)
    )


LONG = some(2 * DIGESTED + 3)
DATA = Dataset("d", LONG, some(5), some(6), some(7), ("a",), ())


def other_label(split: Split) -> Split:
    labels = split.labels.copy()
    labels[-1] += 1
    return replace(split, labels=labels)


def other_pixel(split: Split) -> Split:
    inputs = np.array(split.inputs[:])
    inputs[-1, -1, -1, -1] ^= 1
    return replace(split, inputs=inputs)


@pytest.mark.parametrize("change", [other_label, other_pixel])
@pytest.mark.parametrize("name", ["train", "validation", "calibration", "test"])
def test_a_digest_sees_every_split_to_its_last_example(
    name: str, change: Callable[[Split], Split]
) -> None:
    changed = replace(DATA, **{name: change(getattr(DATA, name))})
    assert changed.digest != DATA.digest
    assert replace(DATA, name="d").digest == DATA.digest


def test_what_is_taken_keeps_its_teacher() -> None:
    taught = DATA.taught_by(Teacher(Network("resnet20", {}, {}), ()))
    taken = taught.train.take(np.array([3, 1]))
    assert taken.teacher is taught.train.teacher is not None
    assert taken.labels.tolist() == [3, 1]
    assert taught.validation.teacher is None


def test_a_seed_decides_which_of_the_official_examples_are_used(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p" / "train", per_class=6, side=8)
    write_pictures(tmp_path / "p" / "val", per_class=5, seed=1, side=8)
    write_pictures(tmp_path / "p" / "test", per_class=5, seed=2, side=8)
    sizes = {"validation": 6, "test": 6, "calibration": 2}
    config = DataConfig(folder=str(tmp_path / "p"), resize=8, crop=8, **sizes)
    chosen: dict[str, set[frozenset[bytes]]] = {"validation": set(), "test": set()}
    for seed in range(4):
        data = load_dataset(config, seed=seed, folder=tmp_path)
        for name, seen in chosen.items():
            split = getattr(data, name)
            assert np.bincount(split.labels).tolist() == [2, 2, 2]
            seen.add(frozenset(picture.tobytes() for picture in split.inputs[:]))
    assert min(map(len, chosen.values())) > 1


def test_rare_classes_have_their_share_of_every_split(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    inputs = np.zeros((1000, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "d.npz", inputs=inputs, labels=labels)
    sizes = {"validation": 100, "calibration": 50, "test": 200}
    data = load_dataset(DataConfig(npz="d.npz", **sizes), seed=3, folder=tmp_path)
    for name, size in (*sizes.items(), ("train", 650)):
        shares = np.bincount(getattr(data, name).labels) / size
        assert shares == pytest.approx([0.7, 0.2, 0.1], abs=1 / size)


def test_the_official_test_set_may_be_asked_for_whole(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p" / "train", per_class=6, side=8)
    write_pictures(tmp_path / "p" / "test", per_class=5, seed=2, side=8)
    common = {"folder": str(tmp_path / "p"), "resize": 8, "crop": 8}
    data = load_dataset(DataConfig(**common, test=15), seed=0, folder=tmp_path)
    assert len(data.test) == 15
    with pytest.raises(InputError, match=r"data\.test: 16 examples, but p has 15"):
        load_dataset(DataConfig(**common, test=16), seed=0, folder=tmp_path)


def test_sizes_that_use_up_the_last_example_fit() -> None:
    sizes = {"train": 500, "validation": 3000, "calibration": 500, "test": 1000}
    config = DataConfig(name="digits", **sizes)
    data = load_dataset(config, seed=0, folder=Path("nowhere"))
    assert {name: len(getattr(data, name)) for name in sizes} == sizes
    one_more = config.model_copy(update={"validation": 3001})
    with pytest.raises(InputError, match="= 5001 examples"):
        load_dataset(one_more, seed=0, folder=Path("nowhere"))


def test_one_example_at_least_is_trained_with() -> None:
    config = DataConfig(name="digits", validation=3000, calibration=500, test=1499)
    assert len(load_dataset(config, seed=0, folder=Path("nowhere")).train) == 1
    none_left = config.model_copy(update={"test": 1500})
    with pytest.raises(InputError, match=r"at least 1 to train with \(data.train\) = 5001"):
        load_dataset(none_left, seed=0, folder=Path("nowhere"))


def test_fitting_sizes() -> None:
    def sizes(pool: int, validation: int | None = None, *, has_test: bool = False) -> list[int]:
        found = fitting_sizes(pool, 10, validation=validation, has_test=has_test)
        return [found.get(name, 0) for name in ("validation", "calibration", "test")]

    assert sizes(10_000) == [1000, 300, 2000]
    assert sizes(1000, has_test=True) == [100, 100, 0]
    assert sizes(20) == [5, 5, 5]
    assert sizes(10_000, 7000) == [5000, 300, 2000]
    assert sizes(10_000, 70) == [70, 300, 2000]
