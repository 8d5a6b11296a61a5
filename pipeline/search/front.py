"""The points that no other beats in metric, p90 and bytes; which one was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.task.kind import LOWER
from edgeticket.pipeline.search.structure import Structure
from edgeticket.pipeline.task.shown import lost, metric_name

Aim = Literal["p90", "bytes", "drop"]


@dataclass(frozen=True)
class Bounds:
    """What a point must keep to; None: anything.

    max_drop_points: of the metric: percentage points of shares, else its unit.
    max_drop_relative: as a share of the dense network's score, 0..1.
    minimise: what is to be least within them.
    """

    max_p90_ms: float | None = None
    max_bytes: float | None = None
    max_drop_points: float | None = None
    max_drop_relative: float | None = None
    minimise: Aim = "p90"


@dataclass(frozen=True)
class Score:
    """A metric on validation, where points are chosen."""

    metric: Metric
    value: float

    @property
    def name(self) -> str:
        return metric_name(self.metric)

    @property
    def scale(self) -> float:
        """From the metric to points."""
        return 100.0 if self.metric.unit == "share" else 1.0


@dataclass(frozen=True)
class PointOnTarget:
    """What the runner measured of a point on one target."""

    artifact: str
    runtime: str
    p90_ms: float
    size_bytes: int
    test_score: float | None
    valid: bool
    reasons: tuple[str, ...]  # why it is INVALID


@dataclass(frozen=True)
class Point:
    """A trained network with its bundle.

    score: on validation, rounded where the point is int8; None: nothing is asked of outputs.
    """

    name: str
    structure: Structure
    precision: str
    opinion: str
    epochs: int
    score: float | None
    predicted_ms: float
    measured: Mapping[str, PointOnTarget]
    on_front: bool = False
    broken: tuple[str, ...] = ()  # bounds that it does not keep to

    @property
    def p90_ms(self) -> float:
        """On the slowest target."""
        return max(one.p90_ms for one in self.measured.values())

    @property
    def size_bytes(self) -> int:
        """Of its largest file."""
        return max(one.size_bytes for one in self.measured.values())

    @property
    def test_score(self) -> float | None:
        """Read once, at the end; of the target that the runner scored lowest nothing is chosen."""
        scores = [o.test_score for o in self.measured.values() if o.test_score is not None]
        return scores[0] if scores else None


@dataclass(frozen=True)
class Front:
    """All points of a search; ``chosen``: the name of the one that was asked for.

    left_out: target -> why it counts no more.
    unfinished: point that is none of these -> why.
    """

    name: str
    targets: tuple[str, ...]
    dense: Score | None
    dense_ms: float
    bounds: Bounds
    points: tuple[Point, ...]
    chosen: str | None
    nearest: str | None
    left_out: Mapping[str, str]
    doubts: tuple[str, ...]
    unfinished: Mapping[str, str] = field(default_factory=dict)


def front_of(
    points: Sequence[Point],
    *,
    dense: Score | None,
    dense_ms: float,
    bounds: Bounds,
    name: str,
    targets: Sequence[str],
    left_out: Mapping[str, str],
    doubts: Sequence[str],
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> Front:
    """Say of each point whether it is on the front and what it breaks, and choose one."""
    judged = []
    for point in points:
        on_front = not any(_beats(other, point, dense) for other in points)
        broken = _broken(point, dense, bounds)
        judged.append(replace(point, on_front=on_front, broken=tuple(broken)))
    within = [point for point in judged if not point.broken]
    chosen = min(within, key=lambda p: _aim(p, dense, bounds), default=None)
    nearest = min(judged, key=lambda p: _excess(p, dense, bounds), default=None)
    return Front(
        name=name,
        targets=tuple(targets),
        dense=dense,
        dense_ms=dense_ms,
        bounds=bounds,
        points=tuple(judged),
        chosen=None if chosen is None else chosen.name,
        nearest=None if nearest is None else nearest.name,
        left_out=dict(left_out),
        doubts=tuple(doubts),
        unfinished=dict(unfinished),
    )


def drop_of(point: Point, dense: Score | None) -> float:
    """How many points a network is worse than the dense one, on validation."""
    if dense is None or point.score is None:
        return 0.0
    return dense.scale * lost(dense.metric, dense.value, point.score)


def nearness(point: Point, dense: Score | None, bounds: Bounds) -> tuple[float, ...]:
    """Sorts points: those within the bounds first, the best of them before the others."""
    return _excess(point, dense, bounds), *_aim(point, dense, bounds)


def _beats(one: Point, other: Point, dense: Score | None) -> bool:
    mine = (drop_of(one, dense), one.p90_ms, one.size_bytes)
    theirs = (drop_of(other, dense), other.p90_ms, other.size_bytes)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _limits(point: Point, dense: Score | None, bounds: Bounds) -> list[tuple[str, float, float]]:
    """Of each bound: words, what the point has, and what is allowed."""
    drop = drop_of(point, dense)
    limits = []
    if bounds.max_p90_ms is not None:
        limits.append(("p90 is {:.3f} ms, allowed {:g}", point.p90_ms, bounds.max_p90_ms))
    if bounds.max_bytes is not None:
        limits.append(("it has {:.0f} bytes, allowed {:g}", point.size_bytes, bounds.max_bytes))
    most = bounds.max_drop_points
    if bounds.max_drop_relative is not None and dense is not None:
        most = bounds.max_drop_relative * abs(dense.value) * dense.scale
    if most is not None and dense is not None:
        worse = "higher" if dense.metric.direction == LOWER else "lower"
        limits.append((f"{dense.name} is {{:.2f}} {worse}, allowed {{:g}}", drop, most))
    return limits


def _broken(point: Point, dense: Score | None, bounds: Bounds) -> list[str]:
    return [
        words.format(value, most)
        for words, value, most in _limits(point, dense, bounds)
        if value > most
    ]


def _excess(point: Point, dense: Score | None, bounds: Bounds) -> float:
    """By how much of each bound a point is beyond it, added up."""
    return sum(
        max(0.0, (value - most) / max(abs(most), 1e-3))
        for _, value, most in _limits(point, dense, bounds)
    )


def _aim(point: Point, dense: Score | None, bounds: Bounds) -> tuple[float, ...]:
    values = {
        "p90": point.p90_ms,
        "bytes": float(point.size_bytes),
        "drop": drop_of(point, dense),
    }
    return values[bounds.minimise], *values.values()
