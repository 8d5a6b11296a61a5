"""Fidelity against its definition, and where it cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import (
    EQUAL,
    SILENT,
    Difference,
    Fidelity,
    OutputFidelity,
    differences,
    sqnr_of,
    tell_sqnr,
    to_reals,
)
from edgeticket.device_runner.manifest import TensorSpec
from edgeticket.device_runner.outputs import as_network
from edgeticket.device_runner.report import parse_report
from edgeticket.device_runner.strict_json import format_json
from edgeticket.device_runner.unavailable import Unavailable

NUMBERS = st.floats(-1e3, 1e3, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
ROWS = npst.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=NUMBERS)
CODES = TensorSpec("y", (1, 4), "int8", "plain", 0.5, 3)


@given(ROWS, st.integers(0, 2**32 - 1))
def test_sums_over_samples_are_those_of_the_whole(expected: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = expected + rng.normal(0, 1, expected.shape).astype(np.float32).round(2)
    gathered = Difference("y")
    for a, b in zip(expected, found, strict=True):
        gathered.add(a, b)
    told = gathered.tell()
    a, b = expected.astype(np.float64), found.astype(np.float64)
    noise, signal = np.square(b - a).sum(), np.square(a).sum()
    assert told.largest_error == np.abs(b - a).max()
    assert told.changed == (a != b).any(1).sum()
    if told.largest_error:
        assert np.abs(b - a)[told.worst_sample].max() == told.largest_error
    if noise == 0:
        assert told.sqnr_db == EQUAL
    elif signal == 0:
        assert told.sqnr_db == SILENT
    else:
        assert told.sqnr_db == pytest.approx(10 * math.log10(signal / noise))
    if signal and np.square(b).sum():
        cosine = (a * b).sum() / math.sqrt(signal) / math.sqrt(np.square(b).sum())
        assert told.cosine == pytest.approx(cosine, abs=1e-9)


def test_codes_are_held_against_the_codes_of_the_reference() -> None:
    (gathered,) = differences(["y"], [CODES])
    codes = np.array([-128, 3, 4, 127], np.int8)
    real = to_reals(codes, CODES)
    assert real.tolist() == [-65.5, 0.0, 0.5, 62.0]
    gathered.add(real + np.array([-100, 0.2, 0.3, 0]), real)  # beyond the codes; the same; another
    told = gathered.tell()
    assert told.equal_share == 0.75
    assert told.changed == 1


def test_unsigned_codes_are_those_of_signed_ones() -> None:
    unsigned = replace(CODES, dtype="uint8", zero_point=131)
    stored = np.array([[0, 131, 132, 255]], np.uint8)
    row = as_network(stored, unsigned, place="y", at=0)
    assert to_reals(row, unsigned).tolist() == [-65.5, 0.0, 0.5, 62.0]
    (between,) = differences(["y"], [unsigned], [CODES])
    between.add(to_reals(np.array([-128, 3, 4, 127], np.int8), CODES), to_reals(row, unsigned))
    assert between.tell().equal_share == 1.0
    (apart,) = differences(["y"], [CODES], [replace(CODES, scale=0.25)])
    apart.add(np.zeros(4), np.zeros(4))
    assert isinstance(apart.tell().equal_share, Unavailable)


def test_whole_numbers_are_equal_or_not() -> None:
    (gathered,) = differences(["y"], [TensorSpec("y", (1, 3), "int64", "plain", None, None)])
    gathered.add(np.array([1, 2, 3]), np.array([1, 2, 4]))
    assert gathered.tell().equal_share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("layout", "shape"), [("NHWC", (1, 2, 3, 4)), ("NWC", (1, 3, 4)), ("NDHWC", (1, 2, 2, 3, 4))]
)
def test_channels_come_first_whatever_the_runtime(layout: str, shape: tuple[int, ...]) -> None:
    given = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    row = as_network(given, TensorSpec("y", shape, "float32", layout, None, None), place="y", at=0)
    np.testing.assert_array_equal(row, np.moveaxis(given[0], -1, 0))
    plain = TensorSpec("y", shape, "float32", "plain", None, None)
    np.testing.assert_array_equal(as_network(given, plain, place="y", at=0), given[0])


def test_the_worst_output_is_the_one_with_the_most_noise() -> None:
    def output(name: str, sqnr: Any, error: float = 1.0) -> OutputFidelity:
        return OutputFidelity(name, sqnr, 1.0, error, 1.0, 0, 0)

    found = Fidelity("x", 1, (output("a", 30.0), output("b", 20.0), output("c", EQUAL, 0.0)), ())
    assert found.worst.name == "b"
    assert tell_sqnr(found) == "20.0 dB"
    assert tell_sqnr(replace(found, outputs=found.outputs[2:])) == "exact"
    assert sqnr_of(output("d", SILENT)) == -math.inf
    assert tell_sqnr(Unavailable("why")) == "-"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f["outputs"].clear(), "0 items, allowed: at least 1"),
        (lambda f: f["outputs"].append(f["outputs"][0]), "2 outputs, the artifact has 1"),
        (lambda f: f["outputs"][0].update(changed=6), "more samples than the 5"),
        (lambda f: f["outputs"][0].update(worst_sample=5), "more samples than the 5"),
        (lambda f: f["outputs"][0].update(cosine=1.5), "cosine"),
    ],
)
def test_reports_that_contradict_themselves(change: Any, sentence: str) -> None:
    document = tiny.to_document(tiny.example_report())
    change(document["fidelity"])
    with pytest.raises(InputError, match=sentence):
        parse_report(format_json(document), place="r.json")
