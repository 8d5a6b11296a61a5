"""How far apart two versions of one value are, gathered sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.graph.graph import HIGHEST, LOWEST, Quantization

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """One value against another over all samples; ``max`` and ``mean`` in codes (LSB) or reals.

    equal: share of exactly equal numbers, 0..1. cosine: of the real values; 1.0 where both are all
    zero. relative: ``max`` over the largest magnitude of the reference.
    """

    max: float
    mean: float
    equal: float
    cosine: float
    relative: float


@dataclass
class Tally:
    """Sums that a `Difference` is made of."""

    count: int = 0
    equal: int = 0
    largest: float = 0.0
    total: float = 0.0
    magnitude: float = 0.0
    products: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, reference: Array, other: Array, quantization: Quantization | None) -> None:
        """One sample: codes as integers with their quantization, or real numbers without."""
        zero = 0 if quantization is None else quantization.zero_point
        a = reference.astype(np.float64).ravel() - zero
        b = other.astype(np.float64).ravel() - zero
        distance = np.abs(a - b)
        distance[~np.isfinite(distance)] = math.inf  # NaN is as wrong as can be
        self.count += a.size
        self.equal += int((distance == 0).sum())
        self.largest = max(self.largest, float(distance.max()))
        self.total += float(distance.sum())
        self.magnitude = max(self.magnitude, float(np.abs(a).max()))
        for i, (left, right) in enumerate(((a, b), (a, a), (b, b))):
            self.products[i] += float(left @ right)

    def difference(self) -> Difference:
        across, reference, other = self.products
        norm = math.sqrt(reference) * math.sqrt(other)
        if not norm:
            cosine = 1.0 if reference == other else 0.0
        else:
            cosine = min(across / norm, 1.0) if math.isfinite(across / norm) else 0.0
        return Difference(
            max=self.largest,
            mean=self.total / self.count,
            equal=self.equal / self.count,
            cosine=cosine,
            relative=self.largest / (self.magnitude or 1.0),
        )


@dataclass
class Saturation:
    """Counts codes at the ends of the range."""

    count: int = 0
    clipped: int = 0

    def add(self, codes: Array, quantization: Quantization) -> None:
        """The lowest code is no clipping where it stands for zero: so a ReLU is written."""
        self.count += codes.size
        self.clipped += int((codes == HIGHEST).sum()) * (quantization.zero_point != HIGHEST)
        self.clipped += int((codes == LOWEST).sum()) * (quantization.zero_point != LOWEST)

    def share(self) -> float:
        return self.clipped / self.count
