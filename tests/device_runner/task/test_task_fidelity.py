"""Fidelity: by its definition, whatever the batches, and said where nothing can be said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import EQUAL, SILENT, FidelityTally, OutputFidelity
from edgeticket.device_runner.fidelity.tally import NO_CODES, TOO_LARGE
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.preprocess import to_tensor
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.device_runner.task.sums import ExactSum
from edgeticket.device_runner.unavailable import Unavailable

ANY_FLOATS = npst.arrays(np.float32, (3, 4), elements=st.floats(width=32))
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def measure(reference: Any, output: Any, **scale: Any) -> OutputFidelity:
    tally = FidelityTally(**scale)
    tally.add(np.asarray(reference), np.asarray(output))
    return tally.result()


@given(seed=st.integers(0, 2**32 - 1))
def test_by_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(5, 3, 2)).astype(np.float32)
    b = (a + rng.normal(0, 0.1, a.shape)).astype(np.float32)
    seen = measure(a, b)
    wide, other = a.astype(float).ravel(), b.astype(float).ravel()
    error = other - wide
    assert seen.count == 30
    assert seen.sqnr_db == pytest.approx(10 * np.log10((wide @ wide) / (error @ error)))
    cosine = wide @ other / np.linalg.norm(wide) / np.linalg.norm(other)
    assert seen.cosine == pytest.approx(cosine)
    assert seen.largest_error == np.abs(error).max()
    assert seen.largest_relative == np.abs(error).max() / np.abs(wide).max()
    assert (seen.low, seen.high) == (wide.min(), wide.max())
    assert seen.largest_step == NO_CODES
    assert seen.notes == ()


@given(ANY_FLOATS, ANY_FLOATS, st.integers(0, 3), st.sampled_from([None, 0.1]))
def test_batches_change_no_number_and_nothing_crashes(
    a: Any, b: Any, cut: int, scale: float | None
) -> None:
    whole = measure(a, b, scale=scale)
    tally = FidelityTally(scale=scale)
    for rows in (slice(0, cut), slice(cut, 3)):
        tally.add(a[rows], b[rows])
    assert tally.result() == whole
    format_json(to_json(whole))  # holds nothing that JSON cannot
    finite = np.isfinite(a) & np.isfinite(b)
    assert whole.count == finite.sum()
    assert whole.reference_not_finite == (~np.isfinite(a)).sum()
    assert whole.not_finite == (~np.isfinite(b)).sum()


@given(st.lists(FINITE, max_size=40), st.randoms(use_true_random=False))
def test_exact_sums_are_fsums_in_any_order(values: list[float], random: Any) -> None:
    try:
        wanted = math.fsum(values)
    except OverflowError:
        return
    for _ in range(3):
        random.shuffle(values)
        total = ExactSum()
        total.extend(values)
        if math.isfinite(total.total):  # a part of it may be too large for a float
            assert total.total == wanted
        assert total.count == len(values)


@given(seed=st.integers(0, 2**32 - 1))
def test_codes_and_real_values_of_one_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-128, 128, (4, 9)).astype(np.int8)
    other = np.clip(codes + rng.integers(-1, 2, codes.shape), -128, 127).astype(np.int8)
    scale, zero = 0.05, 7
    seen = measure(codes, other, scale=scale, zero_point=zero)
    real = [(c.astype(float) - zero) * scale for c in (codes, other)]
    assert seen.equal_share == (codes == other).mean()
    assert seen.largest_step == np.abs(codes.astype(int) - other).max()
    assert seen.sqnr_db == measure(*real).sqnr_db
    mixed = measure(
        real[0].astype(np.float32), other, scale=scale, zero_point=zero, code_range=(-128, 127)
    )
    assert (mixed.equal_share, mixed.largest_step) == (seen.equal_share, seen.largest_step)


def test_real_values_become_codes_as_inputs_do() -> None:
    values = np.linspace(-9, 9, 1001, dtype=np.float32)[np.newaxis]
    spec = TensorSpec("x", (1, 1001), "int8", "NC", scale=0.05, zero_point=7)
    codes = to_tensor(values, spec)
    seen = measure(values, codes, scale=0.05, zero_point=7, code_range=(-128, 127))
    assert (seen.equal_share, seen.largest_step) == (1.0, 0)
    beyond = measure(values, codes, scale=0.05, zero_point=7)
    assert beyond.equal_share < 1.0  # without the range, what saturates differs


def test_whole_numbers_without_a_scale_are_codes() -> None:
    seen = measure([[3, 200]], [[3, 198]])
    assert (seen.equal_share, seen.largest_step, seen.largest_error) == (0.5, 2, 2.0)
    unsigned = measure(np.array([[0]], np.uint8), np.array([[255]], np.uint8))
    assert unsigned.largest_step == 255


@pytest.mark.parametrize(
    ("reference", "output", "sqnr", "cosine", "notes"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], EQUAL, 1.0, ""),
        ([[0.0, 0.0]], [[0.0, 0.0]], EQUAL, SILENT,
         "the reference is 0 everywhere: nearness says nothing about a network"),
        ([[0.0, 0.0]], [[1.0, 0.0]], SILENT,
         SILENT, "says nothing"),
        ([[1.0, 1.0]], [[0.0, 0.0]], 0.0, Unavailable("the output is 0 everywhere"),
         "the reference is 1 everywhere"),
        ([[1.0, np.nan]], [[1.0, np.inf]], EQUAL, 1.0,
         "the reference is not finite at 1 positions, which are left out"),
        ([[1.0, 3.0]], [[1.0, -np.inf]], EQUAL, 1.0,
         "the output is not finite at 1 positions, which are left out"),
        ([[1e200, 2.0]], [[1e200, 3.0]], TOO_LARGE,
         TOO_LARGE, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_said(
    reference: Any, output: Any, sqnr: Any, cosine: Any, notes: str
) -> None:
    seen = measure(reference, output)
    assert (seen.sqnr_db, seen.cosine) == (sqnr, cosine)
    assert notes in "; ".join(seen.notes)


def test_nothing_to_compare() -> None:
    assert FidelityTally().result().cosine == Unavailable("there is nothing")
    assert measure(np.zeros((0, 3)), np.zeros((0, 3))).count == 0
    assert measure(np.zeros((3, 0)), np.zeros((3, 0))).count == 0
    broken = measure([[np.nan, 1.0]], [[1.0, np.nan]])
    assert broken.equal_share == Unavailable("no position is finite in both")
    assert (broken.reference_not_finite, broken.not_finite) == (1, 1)


def test_arrays_that_cannot_be_compared() -> None:
    for a, b, sentence in (
        (np.zeros((2, 3)), np.zeros((2, 4)), r"outputs of shape \[2, 3\] and \[2, 4\] cannot be"),
        (np.array(["a"]), np.array(["b"]), "<U1 are no numbers that can be compared"),
    ):
        with pytest.raises(InputError, match=sentence):
            measure(a, b)
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="allowed: a number above 0"):
            FidelityTally(scale=scale)
