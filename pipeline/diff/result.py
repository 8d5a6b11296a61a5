"""What a diff found, as values and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.diff.measures import Difference


@dataclass(frozen=True)
class Bounds:
    """How far a layer's own output may be from the reference's.

    lsb: codes, at most. exact: share 0..1 of codes that must be equal. relative: for values in
    float32, the largest difference over the largest magnitude.
    """

    lsb: float = 1.0
    exact: float = 0.95
    relative: float = 1e-4

    def broken_by(self, own: Difference, *, codes: bool) -> bool:
        if codes:
            return own.max > self.lsb or own.equal < self.exact
        return not own.relative <= self.relative


@dataclass(frozen=True)
class Layer:
    """One value of one model file. Differences are in codes, or reals if ``codes`` is False.

    name: the step that makes it, a convolution rather than the ReLU that is fused with it.
    value: what the files call it.
    clipped: share of codes at the ends of the range, those of a ReLU's zero not counted.
    scales: the reference's and the file's, where they differ by more than float32 rounding.
    """

    name: str
    value: str
    codes: bool
    own: Difference
    running: Difference
    clipped: float | None
    scales: tuple[float, float] | None
    over: bool


@dataclass(frozen=True)
class ArtifactDiff:
    """One artifact as one runtime ran it, against a reference.

    running_against: what ``running`` compares with: the reference, or this machine's own run.
    task: what the bundle asks; differing: the samples whose answer is not the reference's by that
    task (`device_runner.task`, ``agree``), counted from 0.
    only_here: tapped values that the reference does not have; only_there: the other way round.
    changed_samples, output_difference: how the outputs of the tapped file differ from those of
    the file as it is; changed_kernels: operator -> number before and after tapping.
    saturating: layer -> share of its numbers that would be wrong on a CPU that `exact_with` rules
    out, over the first samples; may_saturate: layers whose weights would allow it.
    """

    artifact: str
    runtime: str
    machine: str
    reference: str
    running_against: str
    task: str
    differing: tuple[int, ...] | Unavailable
    layers: tuple[Layer, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    changed_samples: int
    output_difference: float
    changed_kernels: dict[str, tuple[int, int]]
    saturating: dict[str, float]
    may_saturate: tuple[str, ...]

    @property
    def first_over(self) -> Layer | None:
        """The first layer whose own difference breaks a bound."""
        return next((layer for layer in self.layers if layer.over), None)


@dataclass(frozen=True)
class Pair:
    """Two int8 artifacts of one network; ``first``: the first layer where their codes differ."""

    one: str
    other: str
    values: int
    first: str | None
    output: Difference


@dataclass(frozen=True)
class Diff:
    """All artifacts of a bundle that were compared."""

    bundle: str
    samples: int
    bounds: Bounds
    artifacts: tuple[ArtifactDiff, ...]
    pairs: tuple[Pair, ...]

    @property
    def is_within(self) -> bool:
        return all(artifact.first_over is None for artifact in self.artifacts)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values: all fields, and for each artifact the first layer over its bound.

        Differences from what is not a number are infinite, which JSON cannot say: null.
        """
        document: dict[str, object] = _finite(to_json(self))
        return document | {
            "first_over": {
                artifact.artifact: artifact.first_over.name if artifact.first_over else None
                for artifact in self.artifacts
            },
        }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
