"""How near are two networks' outputs, whatever they mean? No labels are needed.

Sums are exact, sample by sample, so that no more than one sample is held at a time and batches
change no number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.unavailable import Unavailable

Number = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


EQUAL = Unavailable("there is no difference")
SILENT = Unavailable("the reference is 0 everywhere")
NO_CODES = Unavailable("the output is of real numbers, which have no codes")
TOO_LARGE = Unavailable("squares are beyond what 64-bit floats hold")


@dataclass(frozen=True)
class OutputFidelity:
    """How near one output is to its reference, over the compared samples.

    Positions where one of both is not finite are counted, and left out of everything else.

    Attributes:
        name: of the output.
        count: positions that were compared.
        sqnr_db: 10 log10(sum of reference^2 / sum of error^2).
        cosine: of reference and output as one long vector each.
        largest_error: largest |output - reference|.
        largest_relative: the same by the largest |reference|.
        equal_share: positions with the same code, or whole number, 0..1.
        largest_step: the largest difference of two codes, in steps.
        low, high: the range of the reference.
        changed: samples of which any code, or number, is another one.
        worst_sample: where the largest error is, the first of equal ones.
        reference_not_finite, not_finite: positions where they are not finite.
        notes: what should be known before the numbers are believed.
    """

    name: str
    count: int | Unavailable
    sqnr_db: float | Unavailable
    cosine: float | Unavailable
    largest_error: float | Unavailable
    largest_relative: float | Unavailable
    equal_share: float | Unavailable
    largest_step: int | Unavailable
    low: float | Unavailable
    high: float | Unavailable
    changed: int
    worst_sample: int
    reference_not_finite: int
    not_finite: int
    notes: tuple[str, ...]


_JUDGED = (
    *("sqnr_db", "cosine", "largest_error", "largest_relative"),
    *("equal_share", "largest_step", "low", "high"),
)


class FidelityTally:
    """Takes one output of both networks batch by batch; the memory is that of one sample.

    Args:
        name: of the output.
        scale: of one step; None: there are no codes, or both are codes whose scale is not known.
        zero_point: the code of 0.
        code_range: the lowest and highest code that there are; None: no limit.
        no_codes: why there are none, where neither side has any.

    Arrays of whole numbers are codes, with a scale; arrays of floats are real values. With a scale,
    real values become codes as ONNX's QuantizeLinear makes them.

    Raises:
        InputError: a scale that is none.
    """

    def __init__(
        self,
        name: str = "",
        *,
        scale: float | None = None,
        zero_point: int = 0,
        code_range: tuple[int, int] | None = None,
        no_codes: Unavailable = NO_CODES,
    ) -> None:
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise InputError(f"fidelity: scale is {scale}, allowed: a number above 0")
        self.name, self._no_codes = name, no_codes
        self._scale, self._zero_point, self._range = scale, zero_point, code_range
        self._signal, self._noise = ExactSum(), ExactSum()
        self._product, self._power = ExactSum(), ExactSum()
        self._error, self._low, self._high = 0.0, math.inf, -math.inf
        self._count = self._equal = self._step = 0
        self._samples = self._changed = self._worst = 0
        self._broken = [0, 0]
        self._whole = True  # what was compared so far: codes, or whole numbers

    def add(self, reference: Number, output: Number) -> None:
        """Take the outputs [N, ...] for some samples.

        Raises:
            InputError: two arrays of different shapes, or not of numbers.
        """
        if reference.shape != output.shape:
            raise InputError(
                f"fidelity: outputs of shape {list(reference.shape)} and {list(output.shape)} "
                "cannot be compared: both must be of one network"
            )
        for array in (reference, output):
            if array.dtype.kind not in "fiub":
                raise InputError(f"fidelity: {array.dtype} are no numbers that can be compared")
        for row, other in zip(np.atleast_1d(reference), np.atleast_1d(output)):
            self._changed += not self._add_sample(np.ravel(row), np.ravel(other))
            self._samples += 1

    def _add_sample(self, reference: Number, output: Number) -> bool:
        """Take one sample, and say whether it is the same in both."""
        finite, output_finite = _finite(reference), _finite(output)
        self._broken[0] += int((~finite).sum())
        self._broken[1] += int((~output_finite).sum())
        both = finite & output_finite
        is_whole = bool(both.all())
        if not is_whole:
            reference, output = reference[both], output[both]
        if reference.size == 0:
            return is_whole
        real, other = self._real(reference), self._real(output)
        with np.errstate(over="ignore", invalid="ignore"):
            error = other - real
            self._signal.add(float((real * real).sum()))
            self._noise.add(float((error * error).sum()))
            self._product.add(float((real * other).sum()))
            self._power.add(float((other * other).sum()))
        largest = float(np.abs(error).max())
        if largest > self._error:
            self._error, self._worst = largest, self._samples
        self._low = min(self._low, float(real.min()))
        self._high = max(self._high, float(real.max()))
        self._count += reference.size
        codes, other_codes = self._codes(reference), self._codes(output)
        if codes is None or other_codes is None:
            self._whole = False
            equal = int((reference == output).sum())
        else:
            equal = int((codes == other_codes).sum())
            self._step = max(self._step, int(np.abs(codes - other_codes).max()))
        self._equal += equal
        return is_whole and equal == reference.size

    def _real(self, array: Number) -> Floats:
        wide = array.astype(np.float64)
        if array.dtype.kind == "f" or self._scale is None:
            return wide
        return (wide - self._zero_point) * self._scale

    def _codes(self, array: Number) -> Integers | None:
        if array.dtype.kind != "f":
            return array.astype(np.int64)
        if self._scale is None:
            return None
        # float32 division, round half to even: ONNX QuantizeLinear.
        with np.errstate(over="ignore"):
            steps = np.rint(array.astype(np.float32) / np.float32(self._scale))
        low, high = self._range if self._range is not None else (-(2**31), 2**31 - 1)
        codes: Integers = np.clip(steps.astype(np.float64) + self._zero_point, low, high)
        return codes.astype(np.int64)

    def result(self) -> OutputFidelity:
        """What was seen so far."""
        judged: dict[str, Any] = {}
        if self._count == 0:
            broken = any(self._broken)
            nothing = "no position is finite in both" if broken else "there is nothing"
            judged = dict.fromkeys(_JUDGED, Unavailable(nothing))
        else:
            largest = max(abs(self._low), abs(self._high))
            judged = {
                "sqnr_db": self._sqnr(),
                "cosine": self._cosine(),
                "largest_error": _limited(self._error),
                "largest_relative": _limited(self._error / largest) if largest else SILENT,
                "equal_share": self._equal / self._count if self._whole else self._no_codes,
                "largest_step": self._step if self._whole else self._no_codes,
                "low": self._low,
                "high": self._high,
            }
        return OutputFidelity(
            name=self.name,
            count=self._count,
            **judged,
            changed=self._changed,
            worst_sample=self._worst,
            reference_not_finite=self._broken[0],
            not_finite=self._broken[1],
            notes=self._notes(),
        )

    def _sqnr(self) -> float | Unavailable:
        signal, noise = self._signal.total, self._noise.total
        if noise == 0.0:
            return EQUAL
        if signal == 0.0:
            return SILENT
        if not (math.isfinite(signal) and math.isfinite(noise)):
            return TOO_LARGE
        return 10.0 * (math.log10(signal) - math.log10(noise))

    def _cosine(self) -> float | Unavailable:
        signal, power, product = self._signal.total, self._power.total, self._product.total
        if signal == 0.0 or power == 0.0:
            return SILENT if signal == 0.0 else Unavailable("the output is 0 everywhere")
        if not all(map(math.isfinite, (signal, power, product))):
            return TOO_LARGE
        return max(-1.0, min(1.0, product / math.sqrt(signal) / math.sqrt(power)))

    def _notes(self) -> tuple[str, ...]:
        names = ("the reference", "the output")
        notes = [
            f"{name} is not finite at {count} positions, which are left out"
            for name, count in zip(names, self._broken)
            if count
        ]
        if self._count > 1 and self._low == self._high:
            notes.append(
                f"the reference is {self._low:g} everywhere: nearness says nothing about a network"
            )
        return tuple(notes)


def _finite(array: Number) -> npt.NDArray[np.bool_]:
    if array.dtype.kind != "f":
        return np.ones(array.shape, dtype=np.bool_)
    return np.asarray(np.isfinite(array))


def _limited(value: float) -> float | Unavailable:
    return value if math.isfinite(value) else Unavailable("it is beyond what 64-bit floats hold")
