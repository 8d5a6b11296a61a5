"""Classes, labels, numbers, series: against scikit-learn, torchmetrics and their definitions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import example, import_torchmetrics

from edgeticket.device_runner.accuracy import classify
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.task.classes import ClassesSettings
from edgeticket.device_runner.task.labels import LabelsSettings
from edgeticket.device_runner.task.numbers import NumbersSettings
from edgeticket.device_runner.task.series import SeriesSettings
from edgeticket.device_runner.unavailable import Unavailable

SEEDS = st.integers(0, 2**32 - 1)
CLASSES, LABELS, NUMBERS, SERIES = (
    TASKS[name] for name in ("classes", "labels", "numbers", "series")
)


@given(seed=SEEDS, count=st.integers(1, 30), classes=st.integers(2, 9))
def test_top1_and_top5_are_those_of_the_runner(seed: int, count: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    outputs = rng.integers(-128, 128, (count, classes)).astype(np.int8)
    outputs //= 40  # ties
    labels = rng.integers(0, classes, count)
    runner = classify(outputs, np.zeros((count, 1, 1, 1), np.uint8), labels)
    scored = CLASSES.score([outputs], {"label": labels}, ClassesSettings())
    assert scored == {"top1": runner.top1, "top5": runner.top5}


def test_classes_that_are_not_there() -> None:
    outputs = [np.zeros((3, 4), np.float32)]
    for labels, sentence in (
        ([0, 4, 1], "the label of sample 1 is 4, output 0 has 4 classes, counted from 0"),
        ([0, 1, -1], "the label of sample 2 is -1: classes are from 0 on"),
        ([0.0, 1.0, 2.0], "'label' is float64: it must be of whole numbers"),
        ([[0], [1], [2]], r"'label' has shape \[3, 1\]"),
    ):
        with pytest.raises(InputError, match=sentence):
            CLASSES.score(outputs, {"label": np.array(labels)}, ClassesSettings())


def test_the_same_class_is_the_same_answer() -> None:
    a, b = np.array([[1, 2], [3, 3], [5, 1]]), np.array([[7, 9], [2, 4], [1, 0]])
    assert CLASSES.agree([a], [b], ClassesSettings()).tolist() == [True, False, True]
    with pytest.raises(InputError, match="cannot be compared"):
        CLASSES.agree([a], [b[:, :1]], ClassesSettings())


def labels_case(seed: int, count: int, labels: int) -> tuple[Any, Any]:
    """Probabilities with ties, and labels of which some hold nowhere or everywhere."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(count, labels)).round(1).astype(np.float32)
    right = (rng.uniform(size=values.shape) < rng.choice([0.0, 0.4, 1.0], labels)).astype(int)
    return values, right


@given(seed=SEEDS, count=st.integers(1, 30), labels=st.integers(1, 6))
def test_labels_are_scored_as_scikit_learn_does(seed: int, count: int, labels: int) -> None:
    values, right = labels_case(seed, count, labels)
    scored = LABELS.score([values], {"labels": right}, LabelsSettings())
    held = right.any(axis=0)
    if held.any():
        wanted = sklearn.metrics.average_precision_score(
            right[:, held], values[:, held], average="macro"
        )
        assert scored["map"] == pytest.approx(wanted, abs=1e-12)
    else:
        assert scored["map"] == Unavailable("no label holds for any sample")
    claimed = (values > 0.5).astype(int)
    if (claimed | right).any():
        for name, average in (("f1_macro", "macro"), ("f1_micro", "micro")):
            # Lists of rows, so that one label is not taken for one of two classes.
            wanted = sklearn.metrics.f1_score(
                np.pad(right, ((0, 0), (0, 1))), np.pad(claimed, ((0, 0), (0, 1))),
                average=average, zero_division=np.nan,
            )  # fmt: skip
            assert scored[name] == pytest.approx(wanted, abs=1e-12)
    else:
        assert isinstance(scored["f1_macro"], Unavailable)
        assert isinstance(scored["f1_micro"], Unavailable)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_labels_are_scored_as_torchmetrics_does(seed: int) -> None:
    import torch

    functional = import_torchmetrics()
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(20, 5)).astype(np.float32).round(1)
    right = rng.integers(0, 2, (20, 5))
    right[0], right[1] = 0, 1
    scored = LABELS.score([values], {"labels": right}, LabelsSettings(activation="sigmoid"))
    a, b = torch.from_numpy(values), torch.from_numpy(right)
    precision = functional.classification.multilabel_average_precision(a, b, num_labels=5)
    assert scored["map"] == pytest.approx(float(precision), abs=1e-6)
    f1 = functional.classification.multilabel_f1_score(a, b, num_labels=5, average="macro")
    assert scored["f1_macro"] == pytest.approx(float(f1), abs=1e-6)


def test_unknown_labels_count_for_nothing() -> None:
    values, right = labels_case(3, 20, 4)
    right[:10, 2] = -1
    scored = LABELS.score([values], {"labels": right}, LabelsSettings())
    wanted = [
        sklearn.metrics.average_precision_score(right[rows, i], values[rows, i])
        for i, rows in enumerate([slice(0, 20), slice(0, 20), slice(10, 20), slice(0, 20)])
        if (right[rows, i] == 1).any()
    ]
    assert scored["map"] == pytest.approx(np.mean(wanted), abs=1e-12)
    known, claimed = right >= 0, values > 0.5
    assert (claimed & ~known).any()
    f1 = sklearn.metrics.f1_score(right[known], claimed[known])
    assert scored["f1_micro"] == pytest.approx(f1, abs=1e-12)
    right[4, 1] = 2
    with pytest.raises(InputError, match="label 1 of sample 4 is 2: give 1 where a label holds"):
        LABELS.score([values], {"labels": right}, LabelsSettings())


def test_large_logits_keep_their_order() -> None:
    values = np.array([[60.0], [80.0], [70.0]], np.float32)  # one in a float32 sigmoid
    scored = LABELS.score(
        [values], {"labels": np.array([[0], [1], [0]])}, LabelsSettings(activation="sigmoid")
    )
    assert scored["map"] == 1.0


@given(seed=SEEDS, count=st.integers(2, 20))
def test_numbers_are_scored_as_scikit_learn_does(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (count, 3, 2)).astype(np.float32)
    right = values + rng.normal(size=values.shape)
    scored = NUMBERS.score([values], {"values": right}, NumbersSettings())
    a, b = right.reshape(count, -1), values.reshape(count, -1)
    assert scored["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(a, b), rel=1e-12)
    square = sklearn.metrics.mean_squared_error(a, b)
    assert scored["rmse"] == pytest.approx(square**0.5, rel=1e-12)
    assert scored["r2"] == pytest.approx(sklearn.metrics.r2_score(a, b), rel=1e-9, abs=1e-9)


def test_positions_that_never_vary_have_no_share_in_r2() -> None:
    right = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    values = right + np.array([[0.1, 1.0], [0.2, 1.0], [0.3, 1.0]])
    scored = NUMBERS.score([values], {"values": right}, NumbersSettings())
    wanted = sklearn.metrics.r2_score(right[:, 0], values[:, 0])
    assert scored["r2"] == pytest.approx(wanted, rel=1e-12)
    constant = NUMBERS.score([values], {"values": right * 0}, NumbersSettings())
    assert constant["r2"] == Unavailable("the targets are the same for all samples")
    assert constant["mae"] == pytest.approx(np.abs(values).mean())


def test_one_number_a_sample_may_be_written_with_or_without_its_dimension() -> None:
    values = np.array([[1.0], [3.0]])
    assert NUMBERS.score([values], {"values": np.array([1.0, 2.0])}, NumbersSettings()) == {
        "mae": 0.5, "rmse": 0.5**0.5, "r2": -1.0,
    }  # fmt: skip
    with pytest.raises(
        InputError, match=r"output 0 has shape \[1\] for a sample, its target \[2\]"
    ):
        NUMBERS.score([values], {"values": np.zeros((2, 2))}, NumbersSettings())


@pytest.mark.parametrize(
    ("name", "array"),
    [("numbers", "values"), ("series", "future"), ("series", "past"), ("images", "image"),
     ("keypoints", "points"), ("anomaly", "input")],
)  # fmt: skip
def test_targets_that_are_not_finite(name: str, array: str) -> None:
    task_settings, outputs, targets = example(name, 0)
    targets[array] = targets[array].copy()
    targets[array][2].flat[0] = np.nan
    with pytest.raises(InputError, match=f"'{array}' is not finite for sample 2: leave the sample"):
        TASKS[name].score(outputs, targets, task_settings)


def test_numbers_agree_within_the_tolerance() -> None:
    a = np.array([[100.0, 0.0], [100.0, 0.0], [100.0, 0.0]])
    b = np.array([[101.0, 0.0], [102.5, 0.0], [100.0, 0.6]])
    kind = NumbersSettings(absolute=0.5, relative=0.01)
    assert NUMBERS.agree([a], [b], kind).tolist() == [True, False, False]


@given(seed=SEEDS, season=st.integers(1, 4))
def test_series_by_their_definition(seed: int, season: int) -> None:
    rng = np.random.default_rng(seed)
    past, future = rng.normal(size=(5, 9, 2)), rng.normal(size=(5, 3, 2))
    forecast = rng.normal(size=(5, 3, 2))
    past[1, :, 0] = 4.0  # no naive error: left out
    scored = SERIES.score(
        [forecast], {"future": future, "past": past}, SeriesSettings(season=season)
    )
    scaled = []
    for i in range(5):
        for c in range(2):
            naive = np.mean([abs(past[i, t, c] - past[i, t - season, c]) for t in range(season, 9)])
            if naive:
                scaled.append(np.mean(np.abs(forecast[i, :, c] - future[i, :, c])) / naive)
    assert len(scaled) == 9
    assert scored["mase"] == pytest.approx(np.mean(scaled), rel=1e-12)
    assert scored["mae"] == pytest.approx(np.abs(forecast - future).mean(), rel=1e-12)
    assert scored["rmse"] == pytest.approx(np.sqrt(((forecast - future) ** 2).mean()), rel=1e-12)


def test_the_naive_forecast_of_a_straight_line_has_a_mase_of_one() -> None:
    line = np.arange(13.0)[np.newaxis]
    targets = {"past": line[:, :12], "future": line[:, 12:]}
    assert SERIES.score([line[:, 11:12]], targets, SeriesSettings())["mase"] == 1.0


def test_series_without_a_past_or_with_one_that_says_nothing() -> None:
    future = np.ones((2, 3))
    kind = SeriesSettings(season=4)
    scored = SERIES.score([future], {"future": future}, kind)
    assert scored["mase"] == Unavailable("the targets have no past")
    flat = SERIES.score([future], {"future": future, "past": np.ones((2, 5))}, kind)
    assert flat["mase"] == Unavailable("the past never changes, so the naive forecast has no error")
    for past, sentence in (
        (np.ones((2, 4)), "'past' has 4 steps: with a season of 4 it needs 5 at least"),
        (np.ones((2, 9, 1)), "they may differ in their number of steps alone"),
    ):
        with pytest.raises(InputError, match=sentence):
            SERIES.score([future], {"future": future, "past": past}, kind)


def test_numbers_beyond_64_bits_are_said_without_a_warning() -> None:
    values = np.array([[1e300], [-1e300]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = TASKS["numbers"].score([values * 0], {"values": values}, NumbersSettings())
    assert isinstance(scored["r2"], Unavailable)
