"""Ratios and differences with their 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.report import PerSample, Report

RESAMPLES = 500
SEED = 20  # intervals are part of the output, so they must not change from call to call


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval; None: there is none, as the metric is no mean
    over samples."""

    value: float
    low: float | None
    high: float | None

    def scaled(self, factor: float) -> Interval:
        """``factor`` times as much; a negative one turns the interval round."""
        if self.low is None or self.high is None:
            return Interval(0.0 + factor * self.value, None, None)  # not -0.0
        ends = 0.0 + factor * self.low, 0.0 + factor * self.high
        return Interval(0.0 + factor * self.value, min(ends), max(ends))

    def tell_range(self, pattern: str) -> str:
        """`` (LOW to HIGH)``, or nothing."""
        if self.low is None or self.high is None:
            return ""
        return f" ({self.low:{pattern}} to {self.high:{pattern}})"


def latency_ratio(before: Report, after: Report, share: float) -> Interval:
    """Ratio of two percentiles of latency, with an interval from a block bootstrap.

    Neighbouring queries resemble each other (frequency, other load), so whole blocks of
    consecutive samples are drawn (Künsch 1989), about the square root of their number long.
    """
    rng = np.random.default_rng(SEED)
    slow, fast = (np.asarray(r.latency.samples_ns, dtype=np.float64) for r in (before, after))
    drawn = _resampled(slow, share, rng) / _resampled(fast, share, rng)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(nearest_rank(slow, share) / nearest_rank(fast, share), low, high)


def _resampled(
    samples: NDArray[np.float64], share: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Percentile of each of RESAMPLES block resamples: float64 [RESAMPLES]."""
    block = max(1, round(len(samples) ** 0.5))
    starts = len(samples) - block + 1
    blocks = -(-len(samples) // block)
    rank = int(len(samples) * share)
    result = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        first = rng.integers(0, starts, blocks)
        drawn = samples[(first[:, None] + np.arange(block)).ravel()[: len(samples)]]
        result[i] = np.partition(drawn, rank)[rank]
    return result


def points_lost(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Interval:
    """Points of top-1 lost, paired by sample; the interval is the bootstrap over samples.

    A resample of paired differences in {-1, 0, 1} is a multinomial draw of their counts.
    """
    difference = before.astype(np.int8) - after.astype(np.int8)
    counts = np.bincount(difference + 1, minlength=3)
    drawn = np.random.default_rng(SEED).multinomial(len(before), counts / len(before), RESAMPLES)
    points = 100 * (drawn[:, 2] - drawn[:, 0]) / len(before)
    low, high = np.quantile(points, [0.025, 0.975])
    return Interval(100 * float(difference.mean()), float(low), float(high))


def errors_gained(
    before: NDArray[np.int64], after: NDArray[np.int64], words: NDArray[np.int64]
) -> Interval:
    """Points of word error rate gained, paired by utterance: wrong words of both, words said; the
    interval is the bootstrap over utterances."""
    difference = after - before
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(words), (RESAMPLES, len(words)))
    points = 100 * difference[drawn].sum(1) / words[drawn].sum(1)
    low, high = np.quantile(points, [0.025, 0.975])
    return Interval(100 * float(difference.sum() / words.sum()), float(low), float(high))


def ratio_change(before: PerSample, after: PerSample) -> Interval:
    """How much lower a ratio of sums over samples is afterwards, paired by sample; the interval is
    the bootstrap over samples."""
    parts = [
        (np.asarray(one.values, dtype=np.float64), np.asarray(one.weights, dtype=np.float64))
        for one in (before, after)
    ]
    count = len(before.values)
    rng = np.random.default_rng(SEED)
    drawn = np.empty(RESAMPLES)
    for i in range(RESAMPLES):  # one by one: samples may be many
        chosen = np.bincount(rng.integers(0, count, count), minlength=count)
        ratios = [(chosen @ v) / w if (w := chosen @ weights) else np.nan for v, weights in parts]
        drawn[i] = ratios[0] - ratios[1]
    value = float(parts[0][0].sum() / parts[0][1].sum() - parts[1][0].sum() / parts[1][1].sum())
    drawn = drawn[np.isfinite(drawn)]  # a draw of samples without any weight says nothing
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
    return Interval(value, float(low), float(high))


def drawn_change(before: Sequence[float], after: Sequence[float], value: float) -> Interval:
    """A difference of ``value`` between two metrics, whose instruments have drawn the same samples
    with replacement: the interval is the bootstrap over samples, paired draw by draw.

    Where one has fewer draws they are the first ones.
    """
    count = min(len(before), len(after))
    drawn = np.asarray(before[:count]) - np.asarray(after[:count])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def nearest_rank(samples: NDArray[np.float64], share: float) -> float:
    """``sorted(samples)[floor(n * share)]``, as the runner takes percentiles."""
    return float(np.sort(samples)[int(len(samples) * share)])
