"""Two reports in, one verdict out.

A comparison changes one thing. *Fidelity*: same machine, same samples, another artifact — what
did compression cost and bring? *Platform*: same artifact, another machine — does the device
give the same answers, and how fast? Anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from device_runner.errors import InputError
from device_runner.report import Report
from device_runner.strict_json import to_json
from device_runner.unavailable import Unavailable

RESAMPLES = 500
SEED = 20  # intervals are part of the output, so they must not change from call to call


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ChangedSample:
    """A sample that the two reports put in different classes."""

    index: int
    label: int
    before: int
    after: int


@dataclass(frozen=True)
class Limits:
    """What the later report must keep to; None: not asked."""

    max_drop_points: float | None = None
    max_p90_ms: float | None = None
    min_speedup: float | None = None


@dataclass(frozen=True)
class Comparison:
    """How ``after`` stands to ``before``."""

    kind: str  # fidelity, platform
    before: str
    after: str
    interleaved: bool  # measured in turns in one session; else drift may be in the ratios
    size_ratio: float  # bytes of before / bytes of after
    speedup_p50: Interval  # p50 of before / p50 of after
    speedup_p90: Interval | Unavailable
    p50_ms: tuple[float, float]
    p90_ms: tuple[float | Unavailable, float | Unavailable]
    top1: tuple[float, float]  # shares 0..1
    drop_points: Interval  # percentage points that after lost; negative: gained
    agreement: float  # share of samples that both put in the same class
    identical_outputs: bool  # bit for bit, as int8 codes or float32
    changed: tuple[ChangedSample, ...]
    broken_limits: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """All fields as plain JSON values."""
        document: dict[str, object] = to_json(self)
        return document

    def print(self, console: Console) -> None:
        """The verdict as a table for people."""
        table = Table(
            title=f"{self.kind}: {self.after} against {self.before}", title_justify="left"
        )
        for heading in ("", "before", "after", "change"):
            table.add_column(heading, justify="left" if not heading else "right")
        p50, p90 = self.p50_ms, self.p90_ms
        table.add_row("p50 ms", f"{p50[0]:.3f}", f"{p50[1]:.3f}", _times(self.speedup_p50))
        table.add_row("p90 ms", _ms(p90[0]), _ms(p90[1]), _times(self.speedup_p90))
        table.add_row("size", "", "", f"{self.size_ratio:.2f}x smaller")
        drop = self.drop_points
        table.add_row(
            "top-1",
            f"{self.top1[0]:.2%}",
            f"{self.top1[1]:.2%}",
            f"{_gain(drop.value)} points ({_gain(drop.high)} to {_gain(drop.low)})",
        )
        same = "identical outputs" if self.identical_outputs else f"{len(self.changed)} changed"
        table.add_row("agreement", "", "", f"{self.agreement:.2%}, {same}")
        console.print(table)
        for sample in self.changed[:_SHOWN]:
            console.print(
                f"  sample {sample.index}: class {sample.label}, "
                f"before {sample.before}, after {sample.after}"
            )
        if len(self.changed) > _SHOWN:
            console.print(f"  and {len(self.changed) - _SHOWN} more: see --json")
        if not self.interleaved:
            console.print("The two were not measured interleaved: ratios may hold drift.")
        for sentence in self.broken_limits:
            console.print(f"LIMIT BROKEN: {sentence}")


_SHOWN = 5


def compare(before: Report, after: Report, *, limits: Limits) -> Comparison:
    """Compare two reports.

    Args:
        before: what to compare with.
        after: what is judged.
        limits: broken ones are listed in the result.

    Raises:
        InputError: the two differ in more than one thing; the message says in what.
    """
    kind = _kind(before, after)
    labels = np.asarray(before.accuracy.labels)
    predicted = np.asarray(before.accuracy.predictions), np.asarray(after.accuracy.predictions)
    right = predicted[0] == labels, predicted[1] == labels
    agree = predicted[0] == predicted[1]
    p50 = _percentile_ms(before, 0.5), _percentile_ms(after, 0.5)
    p90 = _ms_or_reason(before), _ms_or_reason(after)
    speedup_p50 = _ratio(before, after, 0.5)
    missing = next((p for p in p90 if isinstance(p, Unavailable)), None)
    drop = _drop(right[0], right[1])
    return Comparison(
        kind=kind,
        before=_title(before),
        after=_title(after),
        interleaved=before.session.id == after.session.id,
        size_ratio=before.artifact.size_bytes / after.artifact.size_bytes,
        speedup_p50=speedup_p50,
        speedup_p90=missing or _ratio(before, after, 0.9),
        p50_ms=p50,
        p90_ms=p90,
        top1=(before.accuracy.top1, after.accuracy.top1),
        drop_points=drop,
        agreement=float(agree.mean()),
        identical_outputs=before.accuracy.outputs_sha256 == after.accuracy.outputs_sha256,
        changed=tuple(
            ChangedSample(int(i), int(labels[i]), int(predicted[0][i]), int(predicted[1][i]))
            for i in np.flatnonzero(~agree)
        ),
        broken_limits=_broken(limits, drop.value, p90[1], speedup_p50.value),
    )


def _kind(before: Report, after: Report) -> str:
    """Which one thing differs.

    Raises:
        InputError: the reports are not comparable.
    """
    unlike: list[str] = []
    if before.accuracy.samples_sha256 != after.accuracy.samples_sha256:
        unlike.append("they were measured on different samples")
    if before.latency.scenario != after.latency.scenario:
        unlike.append(f"scenario {before.latency.scenario} against {after.latency.scenario}")
    if before.runtime.threads != after.runtime.threads:
        unlike.append(f"{before.runtime.threads} against {after.runtime.threads} threads")
    withheld = [", ".join(r.runtime.withheld) or "nothing" for r in (before, after)]
    if before.machine == after.machine and withheld[0] != withheld[1]:
        unlike.append(f"{withheld[0]} against {withheld[1]} withheld from the runtime")
    same_artifact = before.artifact.sha256 == after.artifact.sha256
    if before.machine != after.machine and not same_artifact:
        unlike.append(
            f"both the machine ({_machine(before)} against {_machine(after)}) and the artifact "
            f"({before.artifact.id} against {after.artifact.id}) differ: change one at a time"
        )
    if unlike:
        raise InputError("these two reports cannot be compared: " + "; ".join(unlike))
    return "platform" if same_artifact else "fidelity"


def _ratio(before: Report, after: Report, share: float) -> Interval:
    """Ratio of two percentiles of latency, with an interval from a block bootstrap.

    Neighbouring queries resemble each other (frequency, other load), so whole blocks of
    consecutive samples are drawn (Künsch 1989), about the square root of their number long.
    """
    rng = np.random.default_rng(SEED)
    slow, fast = (np.asarray(r.latency.samples_ns, dtype=np.float64) for r in (before, after))
    drawn = _resampled(slow, share, rng) / _resampled(fast, share, rng)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(_nearest_rank(slow, share) / _nearest_rank(fast, share), low, high)


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


def _drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Interval:
    """Points of top-1 lost, paired by sample; the interval is the bootstrap over samples.

    A resample of paired differences in {-1, 0, 1} is a multinomial draw of their counts.
    """
    difference = before.astype(np.int8) - after.astype(np.int8)
    counts = np.bincount(difference + 1, minlength=3)
    drawn = np.random.default_rng(SEED).multinomial(len(before), counts / len(before), RESAMPLES)
    points = 100 * (drawn[:, 2] - drawn[:, 0]) / len(before)
    low, high = np.quantile(points, [0.025, 0.975])
    return Interval(100 * float(difference.mean()), float(low), float(high))


def _broken(
    limits: Limits, drop: float, p90_ms: float | Unavailable, speedup: float
) -> tuple[str, ...]:
    broken: list[str] = []
    if limits.max_drop_points is not None and drop > limits.max_drop_points:
        broken.append(f"top-1 dropped {drop:.2f} points, allowed {limits.max_drop_points:g}")
    if limits.max_p90_ms is not None:
        if isinstance(p90_ms, Unavailable):
            broken.append(f"p90 is unknown ({p90_ms.reason}), allowed {limits.max_p90_ms:g} ms")
        elif p90_ms > limits.max_p90_ms:
            broken.append(f"p90 is {p90_ms:.3f} ms, allowed {limits.max_p90_ms:g} ms")
    if limits.min_speedup is not None and speedup < limits.min_speedup:
        broken.append(f"p50 is {speedup:.2f} times lower, wanted {limits.min_speedup:g}")
    return tuple(broken)


def _nearest_rank(samples: NDArray[np.float64], share: float) -> float:
    return float(np.sort(samples)[int(len(samples) * share)])


def _percentile_ms(report: Report, share: float) -> float:
    return _nearest_rank(np.asarray(report.latency.samples_ns, dtype=np.float64), share) / 1e6


def _ms_or_reason(report: Report) -> float | Unavailable:
    p90 = report.latency.p90_ns
    return p90 if isinstance(p90, Unavailable) else p90 / 1e6


def _title(report: Report) -> str:
    return f"{report.artifact.id} on {_machine(report)}"


def _machine(report: Report) -> str:
    for name in (report.machine.board, report.machine.cpu):
        if isinstance(name, str):
            return name
    return report.machine.architecture


def _gain(drop: float) -> str:
    return f"{0.0 - drop:+.2f}"  # not -drop, which would print -0.00


def _ms(value: float | Unavailable) -> str:
    return "–" if isinstance(value, Unavailable) else f"{value:.3f}"


def _times(ratio: Interval | Unavailable) -> str:
    if isinstance(ratio, Unavailable):
        return f"– ({ratio.reason})"
    return f"{ratio.value:.2f}x faster ({ratio.low:.2f} to {ratio.high:.2f})"
