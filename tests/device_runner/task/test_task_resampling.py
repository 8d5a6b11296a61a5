"""Metrics of samples that count several times are those of the samples repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_fixtures import example

from edgeticket.device_runner.task import TASKS, resampling
from edgeticket.device_runner.task.kind import Outputs, Targets
from edgeticket.device_runner.task.resampling import Reweighted, counts_of_draws, resampled
from edgeticket.device_runner.unavailable import Unavailable

COUNT = 9
NO_RATIO = ["labels", "masks", "boxes", "anomaly"]  # and embeddings, by pairs


def tallied(name: str, outputs: Outputs, targets: Targets, cfg: Any, count: int) -> Any:
    tally = TASKS[name].tally(targets, cfg, count)
    tally.add(outputs)
    return tally


def repeated(name: str, outputs: Any, targets: Any, counts: Any) -> tuple[Any, Any]:
    """Each sample as often as it counts, beside itself."""
    rows = np.repeat(np.arange(COUNT), counts)
    if name != "boxes":
        return [o[rows] for o in outputs], {key: array[rows] for key, array in targets.items()}
    boxes = [np.flatnonzero(targets["sample"] == row) for row in rows]
    chosen = np.concatenate([np.zeros(0, np.int64), *boxes]).astype(np.int64)
    new = {k: v[rows] if k == "size" else v[chosen] for k, v in targets.items()}
    new["sample"] = np.repeat(np.arange(len(rows)), [len(one) for one in boxes])
    return [o[rows] for o in outputs], new


@pytest.mark.parametrize("name", NO_RATIO)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_counting_twice_is_being_there_twice(name: str, seed: int) -> None:
    cfg, outputs, targets = example(name, seed, COUNT)
    counts = np.random.default_rng(seed).integers(0, 4, COUNT)
    if not counts.any():
        return
    tally = tallied(name, outputs, targets, cfg, COUNT)
    headline = TASKS[name].headline
    now = tally.metrics()[headline]
    metric = tally.reweighted()
    once = metric.score(np.ones(COUNT, np.int64))
    assert (once is None) == isinstance(now, Unavailable)
    assert once is None or once == pytest.approx(now, abs=1e-12)
    more = tallied(
        name, *repeated(name, outputs, targets, counts), cfg=cfg, count=int(counts.sum())
    ).metrics()[headline]
    drawn = metric.score(counts)
    assert (drawn is None) == isinstance(more, Unavailable)
    assert drawn is None or drawn == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize("listed", [True, False])
def test_pairs_count_as_often_as_they_are_drawn(listed: bool) -> None:
    """Of identities a pair counts as often as both of its samples together."""
    rng = np.random.default_rng(3)
    cfg = TASKS["embeddings"].settings.from_json({})
    vectors = rng.normal(size=(COUNT, 3)).astype(np.float32)
    identity = rng.integers(0, 3, COUNT)
    first, second = np.triu_indices(COUNT, k=1)
    pairs = np.stack([first, second, identity[first] == identity[second]], axis=1).astype(np.int64)
    targets = {"pairs": pairs} if listed else {"identity": identity}
    tally = tallied("embeddings", [vectors], targets, cfg, COUNT)
    tally.metrics()
    metric = tally.reweighted()
    counts = rng.integers(0, 3, metric.units)
    weights = counts if listed else counts[first] * counts[second]
    right = {"pairs": np.repeat(pairs, weights, axis=0)}
    more = tallied("embeddings", [vectors], right, cfg, COUNT).metrics()["accuracy"]
    assert metric.units == (len(pairs) if listed else COUNT)
    assert metric.score(counts) == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].headline is not None])
def test_every_metric_has_an_interval(name: str) -> None:
    """By the samples' own parts, or by draws; classes are told sample by sample."""
    cfg, outputs, targets = example(name, 1, 40)
    tally = tallied(name, outputs, targets, cfg, 40)
    value, parts = tally.metrics()[TASKS[name].headline], tally.per_sample()
    draws = tally.resampled()
    if name == "classes":
        return
    assert isinstance(parts, Unavailable) != isinstance(draws, Unavailable)
    if not isinstance(draws, Unavailable):
        low, high = np.quantile(draws, [0.01, 0.99])
        assert resampling.LEAST <= len(draws) <= resampling.DRAWS
        assert low <= value <= high or name in ("embeddings", "labels", "masks", "boxes")


def test_draws_are_the_same_everywhere() -> None:
    """Reports of different machines are compared draw by draw."""
    few, many = list(counts_of_draws(5, 2)), list(counts_of_draws(5, 4))
    assert [one.tolist() for one in many[:2]] == [one.tolist() for one in few]
    assert [one.tolist() for one in few] == [[1, 0, 1, 0, 3], [1, 1, 1, 2, 0]]


def test_what_takes_long_has_fewer_draws_and_at_last_none() -> None:
    drawn: list[Any] = []

    def score(counts: Any) -> float:
        drawn.append(counts)
        return 0.5

    steps = resampling.MOST_STEPS // 100
    assert resampled(Reweighted(3, steps, score)) == (0.5,) * 100
    drawn.clear()
    refused = resampled(Reweighted(3, steps * 10, score))
    assert isinstance(refused, Unavailable)
    assert "too long" in refused.reason
    assert not drawn


def test_draws_without_what_is_judged_are_left_out() -> None:
    cfg = TASKS["anomaly"].settings.from_json({})
    scores, right = np.arange(5, dtype=np.float32)[:, np.newaxis], np.array([0, 0, 0, 0, 1])
    draws = tallied("anomaly", [scores], {"anomalous": right}, cfg, 5).resampled()
    with_both = [c for c in counts_of_draws(5, resampling.DRAWS) if c[4] and c[:4].any()]
    assert draws == (1.0,) * len(with_both)
    alone = tallied("anomaly", [scores], {"anomalous": np.zeros(5, int)}, cfg, 5).resampled()
    assert isinstance(alone, Unavailable)
    assert "0 of 200 draws" in alone.reason
