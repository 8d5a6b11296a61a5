"""How far the outputs of an artifact are from others, output by output, without labels.

Sums are kept in float64, sample by sample, so that no more than one sample is held at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.unavailable import Unavailable

Array = npt.NDArray[Any]

EQUAL = Unavailable("there is no difference")
SILENT = Unavailable("one side is zero throughout")
NO_CODES = Unavailable("the output is float32, which has no codes")
OTHER_CODES = Unavailable("the codes of the two stand for different numbers")


@dataclass(frozen=True)
class OutputFidelity:
    """One output, over the compared samples.

    ``sqnr_db``: signal to noise, 10 log10(sum of squares of the expected / of the difference).
    ``equal_share``: of its codes, or of its whole numbers, 0..1. ``changed``: samples of which
    any code, or number, is another one. ``worst_sample``: where the largest error is.
    """

    name: str
    sqnr_db: float | Unavailable
    cosine: float | Unavailable
    largest_error: float
    equal_share: float | Unavailable
    changed: int
    worst_sample: int


@dataclass(frozen=True)
class Between:
    """The outputs against those of another artifact of the same network and precision."""

    artifact: str
    outputs: tuple[OutputFidelity, ...]


@dataclass(frozen=True)
class Fidelity:
    """How well an artifact gives what the network itself gives.

    ``against`` says what computed the reference outputs; ``between`` has the artifacts of the same
    session that were measured before this one.
    """

    against: str
    samples: int  # queries that were compared, from the first
    outputs: tuple[OutputFidelity, ...]
    between: tuple[Between, ...]

    @property
    def worst(self) -> OutputFidelity:
        """The output with the lowest ratio of signal to noise; one without noise comes last."""
        return min(self.outputs, key=lambda output: sqnr_of(output))


def sqnr_of(output: OutputFidelity) -> float:
    """Its ratio in dB as a number to compare by: infinite where there is no difference."""
    if isinstance(output.sqnr_db, Unavailable):
        return math.inf if output.largest_error == 0 else -math.inf
    return output.sqnr_db


def tell_sqnr(fidelity: Fidelity | Unavailable) -> str:
    """The lowest ratio of all outputs in a cell of a table."""
    if isinstance(fidelity, Unavailable):
        return "-"
    found = sqnr_of(fidelity.worst)
    if math.isinf(found):
        return "exact" if found > 0 else "none"
    return f"{found:.1f} dB"


class Difference:
    """Gathers one output, sample by sample.

    Args:
        name: of the output.
        scale, zero_point: of codes that both sides can be held against as codes; None: there are
            none, and numbers are compared.
        whole: the output holds whole numbers, which are equal or not.
        reason: why there are neither codes nor whole numbers.
    """

    def __init__(
        self,
        name: str,
        *,
        scale: float | None = None,
        zero_point: int | None = None,
        whole: bool = False,
        reason: Unavailable = NO_CODES,
    ) -> None:
        self.name = name
        self._codes = scale is not None and zero_point is not None
        self._scale, self._zero_point = scale or 1.0, zero_point or 0
        self._whole, self._reason = whole, reason
        self._signal = self._noise = self._product = self._power = 0.0
        self._largest, self._worst = 0.0, 0
        self._equal = self._total = self._count = self._changed = 0

    def add(self, expected: Array, found: Array) -> None:
        """Add one sample: real numbers of both sides, of the same shape."""
        a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        error = b - a
        self._signal += float(a @ a)
        self._power += float(b @ b)
        self._product += float(a @ b)
        self._noise += float(error @ error)
        largest = float(np.abs(error).max()) if error.size else 0.0
        if largest > self._largest:
            self._largest, self._worst = largest, self._count
        same = self._code(a) == self._code(b) if self._codes else a == b
        self._equal += int(same.sum())
        self._total += same.size
        self._changed += not bool(same.all())
        self._count += 1

    def _code(self, real: Array) -> Array:
        codes: Array = np.clip(np.rint(real / self._scale) + self._zero_point, -128, 127)
        return codes

    def tell(self) -> OutputFidelity:
        """What all samples together say."""
        sqnr: float | Unavailable = EQUAL
        if self._noise > 0:
            sqnr = SILENT if self._signal == 0 else 10 * math.log10(self._signal / self._noise)
        norm = math.sqrt(self._signal) * math.sqrt(self._power)
        cosine = min(1.0, max(-1.0, self._product / norm)) if norm > 0 else SILENT
        share: float | Unavailable = self._reason
        if self._codes or self._whole:
            share = self._equal / max(self._total, 1)
        return OutputFidelity(
            self.name, sqnr, cosine, self._largest, share, self._changed, self._worst
        )


def differences(
    names: Sequence[str], found: Sequence[TensorSpec], other: Sequence[TensorSpec] | None = None
) -> list[Difference]:
    """One for each output of an artifact, against reals, or against another artifact's outputs."""
    gathered = []
    for i, (name, spec) in enumerate(zip(names, found)):
        scale, zero_point = code_of(spec)
        reason = NO_CODES
        if other is not None and code_of(other[i]) != (scale, zero_point):
            scale, zero_point, reason = None, None, OTHER_CODES
        gathered.append(
            Difference(
                name,
                scale=scale,
                zero_point=zero_point,
                whole=spec.scale is None and spec.dtype != "float32",
                reason=reason,
            )
        )
    return gathered


def code_of(spec: TensorSpec) -> tuple[float | None, int | None]:
    """Scale and zero point of codes -128..127; uint8 codes are those of int8, 128 more."""
    if spec.scale is None or spec.zero_point is None:
        return None, None
    return spec.scale, spec.zero_point - 128 * (spec.dtype == "uint8")


def to_reals(row: Array, spec: TensorSpec) -> Array:
    """Outputs as `device_runner.outputs` gives them, codes -128..127 -> real numbers, float64."""
    scale, zero_point = code_of(spec)
    real: Array = row.astype(np.float64)
    if scale is not None and zero_point is not None:
        real = (real - zero_point) * scale
    return real
