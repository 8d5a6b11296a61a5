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
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return Unavailable(f"all samples are {'negative' if positives == 0 else 'positive'}")
    low = np.sort(scores[~positive])
    below = np.searchsorted(low, scores[positive], side="left")
    up_to = np.searchsorted(low, scores[positive], side="right")
    # Whole numbers: half pairs are counted double, so that no order of summing matters.
    return int(below.sum() + up_to.sum()) / (2 * positives * negatives)


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
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    hits: Integers = np.cumsum(positive[order], dtype=np.int64)[last]
    return hits, (last + 1).astype(np.int64)
