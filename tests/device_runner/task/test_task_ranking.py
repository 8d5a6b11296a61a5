"""Orders of scores, embeddings, anomalies: against scikit-learn, with ties and absent classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import TASKS
from edgeticket.device_runner.task.anomaly import AnomalySettings
from edgeticket.device_runner.task.embeddings import EmbeddingsSettings, likeness
from edgeticket.device_runner.task.ranking import Split, average_precision, best_split, roc_auc
from edgeticket.device_runner.unavailable import Unavailable

EMBEDDINGS, ANOMALY = TASKS["embeddings"], TASKS["anomaly"]
# Few different scores, so that ties are the rule.
SCORED = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        npst.arrays(np.float32, n, elements=st.sampled_from([-1e30, -2.0, 0.0, 0.5, 3.0, 1e30])),
        npst.arrays(np.bool_, n),
    )
)


@given(SCORED)
def test_average_precision_is_scikit_learns(case: Any) -> None:
    scores, positive = case
    if not positive.any():
        assert average_precision(scores, positive) == Unavailable("nothing is positive")
        return
    wanted = sklearn.metrics.average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(wanted, abs=1e-12)


@given(SCORED)
def test_the_area_under_the_roc_curve_is_scikit_learns(case: Any) -> None:
    scores, positive = case
    if positive.all() or not positive.any():
        kind = "positive" if positive.all() else "negative"
        assert roc_auc(scores, positive) == Unavailable(f"all samples are {kind}")
        return
    wanted = sklearn.metrics.roc_auc_score(positive, scores)
    assert roc_auc(scores, positive) == pytest.approx(wanted, abs=1e-12)


@given(SCORED)
def test_the_best_threshold_is_the_best_of_all(case: Any) -> None:
    scores, positive = case
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    right = [float(((scores >= t) == positive).mean()) for t in thresholds]
    assert best_split(scores, positive) == Split(
        pytest.approx(max(right), abs=1e-12), thresholds[int(np.argmax(right))]
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), by=st.sampled_from(["cosine", "euclidean"]))
def test_embeddings_by_all_their_pairs(seed: int, by: str) -> None:
    rng = np.random.default_rng(seed)
    identity = np.array([0, 0, 1, *rng.integers(0, 4, 9)])
    vectors = rng.normal(size=(12, 3, 1)).astype(np.float32)
    if by == "cosine":
        vectors[5] = 0
    alike, same = [], []
    for i in range(12):
        for k in range(i + 1, 12):
            a, b = vectors[i].ravel().astype(float), vectors[k].ravel().astype(float)
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            cosine = a @ b / lengths if lengths else 0.0
            alike.append(cosine if by == "cosine" else -np.linalg.norm(a - b))
            same.append(identity[i] == identity[k])
    scored = EMBEDDINGS.score([vectors], {"identity": identity}, EmbeddingsSettings(by=by))
    assert scored["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(same, alike), abs=1e-9)
    best = max(np.mean((np.array(alike) >= t) == same) for t in [np.inf, *alike])
    assert scored["accuracy"] == pytest.approx(best, abs=1e-9)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), by=st.sampled_from(["cosine", "euclidean"]))
def test_the_order_of_additions_ranks_no_pair(seed: int, by: str) -> None:
    """Few codes make many ties, which rounding in float64 breaks in one order or another."""
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, 3, 30)
    identity[:3] = 0, 0, 1
    vectors = (rng.integers(-3, 4, (30, 6)) * np.float32(0.00224)).astype(np.float32)
    wanted = EMBEDDINGS.score([vectors], {"identity": identity}, EmbeddingsSettings(by=by))
    for order in ([5, 4, 3, 2, 1, 0], rng.permutation(6)):
        again = EMBEDDINGS.score(
            [vectors[:, order]], {"identity": identity}, EmbeddingsSettings(by=by)
        )
        assert again == wanted


def test_pairs_by_themselves() -> None:
    vectors = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    pairs = np.array([[0, 1, 1], [2, 3, 1], [0, 2, 0], [1, 3, 0]])
    kind = EmbeddingsSettings()
    assert EMBEDDINGS.score([vectors], {"pairs": pairs}, kind) == {"accuracy": 1.0, "auc": 1.0}
    alone = EMBEDDINGS.score([vectors], {"pairs": pairs[:2]}, kind)
    assert alone == {"accuracy": 1.0, "auc": Unavailable("all samples are positive")}
    none = EMBEDDINGS.score([vectors], {"pairs": pairs[:0]}, kind)
    assert none["auc"] == Unavailable("there are no pairs")
    for wrong, sentence in (
        ([0, 4, 1], r"pair 0 is \[0, 4\], there are 4 samples, counted from 0"),
        ([0, 1, 2], "pair 0 ends in 2: 1 is of the same, 0 not"),
        ([0, 1], r"'pairs' has shape \[1, 2\]"),
    ):
        with pytest.raises(InputError, match=sentence):
            EMBEDDINGS.score([vectors], {"pairs": np.array([wrong])}, kind)
    with pytest.raises(InputError, match=r"4000 samples make 7998000 pairs, more than 5000000"):
        EMBEDDINGS.check({"identity": np.zeros(4000, int)}, kind, 4000)


def test_vectors_agree_if_they_are_near() -> None:
    a = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    b = np.array([[5.0, 0.1], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    cosine = EMBEDDINGS.agree([a], [b], EmbeddingsSettings())
    assert cosine.tolist() == [True, False, True, False]
    distance = EMBEDDINGS.agree([a], [b], EmbeddingsSettings(by="euclidean"))
    assert distance.tolist() == [False, False, True, False]


def test_a_zero_vector_is_like_nothing() -> None:
    assert likeness(np.zeros((1, 3)), np.ones((1, 3)), "cosine").tolist() == [0.0]


@given(seed=st.integers(0, 2**32 - 1))
def test_anomalies_by_what_was_not_rebuilt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anomalous = np.array([0, 1, *rng.integers(0, 2, 10)])
    original = rng.normal(size=(12, 4, 2))
    rebuilt = original + rng.normal(size=original.shape)
    targets = {"anomalous": anomalous, "input": original}
    scored = ANOMALY.score([rebuilt], targets, AnomalySettings(score="error"))
    error = ((rebuilt - original) ** 2).mean(axis=(1, 2))
    assert scored["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(anomalous, error))
    wanted = sklearn.metrics.average_precision_score(anomalous, error)
    assert scored["average_precision"] == pytest.approx(wanted)


def test_anomalies_by_the_output() -> None:
    outputs, targets = [np.array([[0.1], [0.9], [0.4]])], {"anomalous": np.array([0, 1, 0])}
    kind = AnomalySettings(threshold=0.5)
    assert ANOMALY.score(outputs, targets, kind) == {"auc": 1.0, "average_precision": 1.0}
    others = [np.array([[0.45], [0.6], [0.55]])]
    assert ANOMALY.agree(outputs, others, kind).tolist() == [True, True, False]
    near = [np.array([[0.101], [0.9], [0.5]])]
    assert ANOMALY.agree(outputs, near, AnomalySettings()).tolist() == [True, True, False]
    only = ANOMALY.score(outputs, {"anomalous": np.zeros(3, int)}, kind)
    assert only["auc"] == Unavailable("all samples are negative")
    with pytest.raises(InputError, match="'anomalous' holds something else: give 1"):
        ANOMALY.score(outputs, {"anomalous": np.array([0, 1, 2])}, kind)
    with pytest.raises(InputError, match=r"threshold is 0\.5, but score is error"):
        AnomalySettings(score="error", threshold=0.5)
