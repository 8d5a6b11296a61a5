"""Metrics of an order: how well scores put what is positive in front. Ties are judged as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.task.kind import Flags, Integers
from edgeticket.device_runner.unavailable import Unavailable


def average_precision(scores: npt.NDArray[Any], positive: Flags) -> float | Unavailable:
    """Scores [N] -> sum over thresholds of (recall gained) x precision, as scikit-learn has it.

    No interpolation; equal scores are one threshold.
    """
    positives = int(positive.sum())
    if positives == 0:
        return Unavailable("nothing is positive")
    hits, taken = _thresholds(scores, positive)
    recall = hits / positives
    gained = np.diff(recall, prepend=0.0)
    return float((gained * (hits / taken)).sum())


def roc_auc(scores: npt.NDArray[Any], positive: Flags) -> float | Unavailable:
    """Scores [N] -> probability that a positive one is above a negative one; ties count half.

    Mann and Whitney's U by the number of pairs: the area under the ROC curve.
    """
    area = RocAuc(scores, positive).of(np.ones(len(scores), dtype=np.int64))
    if area is None:
        return Unavailable(f"all samples are {'positive' if positive.any() else 'negative'}")
    return area


class RocAuc:
    """Scores [N] in their order, which is the same however often each of them counts."""

    def __init__(self, scores: npt.NDArray[Any], positive: Flags) -> None:
        distinct, self._rank = np.unique(scores, return_inverse=True)
        self._rank, self._positive, self._ranks = self._rank.ravel(), positive, len(distinct)

    def of(self, counts: Integers) -> float | None:
        """The area where each score counts ``counts`` times; None without both kinds."""
        # Whole numbers below 2^53: no order of summing matters.
        high, low = (
            np.bincount(self._rank, weights=counts * kind, minlength=self._ranks)
            for kind in (self._positive, ~self._positive)
        )
        pairs = high.sum() * low.sum()
        if not pairs:
            return None
        up_to = np.cumsum(low)
        # Half pairs are counted double.
        return float((high * (2 * up_to - low)).sum() / (2 * pairs))


class AveragePrecision:
    """Scores [N] from the highest on, which is the same however often each of them counts."""

    def __init__(self, scores: npt.NDArray[Any], positive: Flags) -> None:
        self._order, self._last = _ranked(scores)
        self._positive = positive[self._order]

    def of(self, counts: Integers) -> float | None:
        """Average precision where each score counts ``counts`` times; None: nothing is positive."""
        ordered = counts[self._order]
        hits = np.cumsum(ordered * self._positive)[self._last]
        taken = np.cumsum(ordered)[self._last]
        if not len(hits) or not hits[-1]:
            return None
        gained = np.diff(hits / hits[-1], prepend=0.0)
        return float((gained * (hits / np.maximum(taken, 1))).sum())


class BestSplit:
    """Scores [N] from the highest on, to be split by the best of all thresholds."""

    def __init__(self, scores: npt.NDArray[Any], positive: Flags) -> None:
        self._order, self._last = _ranked(scores)
        self._positive = positive[self._order]

    def of(self, counts: Integers) -> float | None:
        """Share that is right where each score counts ``counts`` times; None: none counts."""
        ordered = counts[self._order]
        total = int(ordered.sum())
        if not total:
            return None
        sides = np.where(self._positive, ordered, -ordered)
        won = np.cumsum(sides)[self._last].max(initial=0)
        return int(ordered[~self._positive].sum() + won) / total


@dataclass(frozen=True)
class Split:
    """The threshold at which most are right: positive from ``threshold`` on; inf: none is."""

    accuracy: float
    threshold: float


def best_split(scores: npt.NDArray[Any], positive: Flags) -> Split | Unavailable:
    """Scores [N] -> the best of all thresholds; of equally good ones the highest."""
    if len(scores) == 0:
        return Unavailable("nothing to split")
    hits, taken = _thresholds(scores, positive)
    negatives = int((~positive).sum())
    right = np.concatenate([[negatives], hits + negatives - (taken - hits)])
    best = int(np.argmax(right))
    values = np.concatenate([[np.inf], np.unique(scores)[::-1].astype(np.float64)])
    return Split(int(right[best]) / len(scores), float(values[best]))


def _thresholds(scores: npt.NDArray[Any], positive: Flags) -> tuple[Integers, Integers]:
    """For each distinct score, from the highest on: positives and samples that reach it."""
    order, last = _ranked(scores)
    hits: Integers = np.cumsum(positive[order], dtype=np.int64)[last]
    return hits, (last + 1).astype(np.int64)


def _ranked(scores: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """The order from the highest score on, and where each distinct score ends in it."""
    order = np.argsort(-scores.astype(np.float64), kind="stable").astype(np.int64)
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    return order, last.astype(np.int64)
