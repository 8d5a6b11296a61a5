"""Arrays that somebody brings for a task: found by name, split by seed, refused in a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task import TASKS
from edgeticket.pipeline.data import Dataset, load_dataset
from edgeticket.pipeline.data.tensors import Tensors
from edgeticket.pipeline.recipe import DataConfig

Array = np.ndarray[Any, Any]
X = np.arange(40 * 6, dtype=np.float32).reshape(40, 6)
MASK = (np.arange(40 * 16).reshape(40, 4, 4) % 3).astype(np.uint8)
PICTURES = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4)


def task(name: str, **settings: Any) -> Task:
    return Task(name, to_json(TASKS[name].settings.from_json(settings)))


def load(folder: Path, of: Task, arrays: dict[str, Array], **more: Any) -> Dataset:
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]
    sizes = {"validation": 5, "calibration": 5, **more}
    return load_dataset(DataConfig(npz="a.npz", **sizes), seed=3, folder=folder, task=of)


def test_targets_follow_their_inputs_into_every_split(tmp_path: Path) -> None:
    y = X[:, :2] * 10
    data = load(tmp_path, task("numbers"), {"x": X, "z": X[:, :1], "values": y}, test=6)
    splits = (data.train, data.validation, data.calibration, data.test)
    assert [len(split) for split in splits] == [24, 5, 5, 6]
    seen = []
    for split in splits:
        assert isinstance(split.inputs, Tensors)
        assert split.inputs.names == ("x", "z")
        assert split.targets is not None
        first, second = split.inputs.arrays
        assert np.array_equal(split.targets.arrays["values"], first[:, :2] * 10)
        assert np.array_equal(second, first[:, :1])
        seen += first[:, 0].tolist()
    assert sorted(seen) == X[:, 0].tolist()
    again = load(tmp_path, task("numbers"), {"x": X, "z": X[:, :1], "values": y}, test=6)
    assert again.digest == data.digest
    assert data.input_shape == ((6,), (1,))


def test_pictures_stay_bytes_and_are_scaled(tmp_path: Path) -> None:
    data = load(tmp_path, task("masks"), {"inputs": PICTURES, "mask": MASK})
    assert not isinstance(data.train.inputs, Tensors)
    assert data.train.inputs.shape[1:] == (4, 4, 1)
    assert data.preprocessing == ({"op": "normalize", "mean": [127.5], "std": [127.5]},)
    assert data.input_shape == (1, 4, 4)


def test_channels_first_are_stored_as_bundles_have_them(tmp_path: Path) -> None:
    maps = np.arange(40 * 3 * 4 * 5, dtype=np.float64).reshape(40, 3, 4, 5)
    data = load(tmp_path, task("images"), {"a": maps, "image": maps[:, :1]})
    assert isinstance(data.train.inputs, Tensors)
    assert data.train.inputs.arrays[0].dtype == np.float32
    assert data.train.inputs.arrays[0].shape[1:] == (4, 5, 3)
    assert data.input_shape == (3, 4, 5)


def test_a_test_set_of_its_own_and_fair_shares(tmp_path: Path) -> None:
    anomalous = (np.arange(40) % 4 == 0).astype(np.int64)
    arrays = {"x": X, "anomalous": anomalous, "test_x": X[:9], "test_anomalous": anomalous[:9]}
    data = load(tmp_path, task("anomaly"), arrays, validation=8)
    assert len(data.test) == 9
    assert data.validation.targets is not None
    assert data.validation.targets.arrays["anomalous"].sum() == 2


def test_what_should_be_rebuilt_is_what_the_network_takes(tmp_path: Path) -> None:
    anomalous = np.zeros(40, np.int64)
    arrays = {"inputs": PICTURES, "anomalous": anomalous}
    data = load(tmp_path, task("anomaly", score="error"), arrays)
    assert data.train.targets is not None
    rebuilt = data.train.targets.arrays["input"]
    assert rebuilt.shape[1:] == (1, 4, 4)
    wanted = (data.train.inputs[:].astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(rebuilt, np.moveaxis(wanted, -1, 1), rtol=1e-6)


def test_pairs_keep_to_the_examples_that_are_taken(tmp_path: Path) -> None:
    pairs = np.array([[0, 1, 1], [1, 2, 0], [8, 0, 0]])
    arrays = {
        "x": X,
        "identity": np.arange(40) % 5,
        "test_x": X[:9],
        "test_identity": np.arange(9) % 5,
        "test_pairs": pairs,
    }
    data = load(tmp_path, task("embeddings"), arrays)
    assert data.test.targets is not None
    assert np.array_equal(data.test.targets.arrays["pairs"], pairs)
    some = data.test.targets.take(np.array([2, 1, 0]))
    assert some.arrays["pairs"].tolist() == [[2, 1, 1], [1, 0, 0]]
    assert some.arrays["identity"].tolist() == [2, 1, 0]


def test_many_identities_may_be_learnt_from(tmp_path: Path) -> None:
    x = np.zeros((4000, 1), np.float32)
    arrays = {"x": x, "identity": np.arange(4000) % 50}
    data = load(tmp_path, task("embeddings"), arrays, test=50)
    assert len(data.train) == 3940


BAD: list[tuple[Task, dict[str, Array], str]] = [
    (task("numbers"), {"x": X, "values": np.full((40, 2), np.nan)}, "not finite for sample 0"),
    (
        task("numbers"),
        {"x": X, "values": X[:39]},
        r"40 inputs.*other numbers of targets \(values 39",
    ),
    (
        task("numbers"),
        {"x": X, "y": X[:9], "values": X},
        r"not as many in each input \(x 40, y 9\)",
    ),
    (task("numbers"), {"x": X}, "no 'values'"),
    (task("numbers"), {"values": X}, "but no inputs"),
    (task("numbers"), {"x": np.where(X == 6, np.inf, X), "values": X}, "not finite in example 1"),
    (task("numbers"), {"x": X, "values": X, "test_x": X[:, :2], "test_values": X}, "one shape"),
    (task("numbers"), {"x": X, "values": X, "test_values": X}, "give test_ for each"),
    (task("numbers"), {"x": X, "train_x": X, "values": X}, "has both x and train_x"),
    (task("numbers"), {"x": np.array(["a"] * 40), "values": X}, "give uint8 pictures"),
    (task("numbers"), {"x": X, "values": np.array(["a"] * 40)}, "targets are numbers"),
    (task("numbers"), {"x": X[:0], "values": X[:0]}, "no examples"),
    (task("masks"), {"inputs": PICTURES, "mask": MASK.astype(np.int64) - 2}, "has class -2"),
    (task("masks"), {"inputs": PICTURES, "mask": MASK.astype(np.float32)}, "of whole numbers"),
    (
        task("boxes", input=[8, 8], scores={"count": 1}, boxes={"count": 4, "first": 1}),
        {
            "inputs": PICTURES,
            "sample": np.full(5001, 3),
            "box": np.tile([0, 0, 4.0, 4], (5001, 1)),
            "label": np.zeros(5001, int),
        },
        "sample 3 has 5,001 boxes, more than 5,000",
    ),
    (task("labels"), {"x": X, "labels": np.full((40, 2), 2)}, "label 0 of sample 0 is 2"),
]


@pytest.mark.parametrize(("of", "arrays", "sentence"), BAD)
def test_what_cannot_be_right_is_one_sentence(
    tmp_path: Path, of: Task, arrays: dict[str, Array], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load(tmp_path, of, arrays)
    assert "\n" not in str(caught.value)
    assert "a.npz" in str(caught.value)


def test_pictures_whose_targets_would_stay_behind_are_not_resized(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.resize: targets of task masks would not move"):
        load(tmp_path, task("masks"), {"inputs": PICTURES, "mask": MASK}, resize=3)
    with pytest.raises(InputError, match=r"data.mean: inputs of a are no uint8 pictures"):
        load(tmp_path, task("numbers"), {"x": X, "values": X}, mean=(1.0,), std=(1.0,))
