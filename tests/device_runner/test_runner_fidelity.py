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
    Fidelity,
    FidelityTally,
    OutputFidelity,
    sqnr_of,
    tallies,
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
def test_samples_that_changed_and_the_worst(expected: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = expected + rng.normal(0, 1, expected.shape).astype(np.float32).round(2)
    gathered = FidelityTally("y")
    gathered.add(expected[:1], found[:1])
    gathered.add(expected[1:], found[1:])
    told = gathered.result()
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    assert told.changed == (expected != found).any(1).sum()
    assert told.worst_sample == error.max(axis=1).argmax()


def test_codes_are_held_against_the_codes_of_the_reference() -> None:
    (gathered,) = tallies(["y"], [CODES])
    codes = np.array([-128, 3, 4, 127], np.int8)
    real = to_reals(codes, CODES)
    assert real.tolist() == [-65.5, 0.0, 0.5, 62.0]
    away = np.array([-100, 0.2, 0.3, 0])  # beyond the codes; the same; another
    gathered.add((real + away)[np.newaxis], real[np.newaxis])
    told = gathered.result()
    assert told.equal_share == 0.75
    assert told.changed == 1


def test_unsigned_codes_are_those_of_signed_ones() -> None:
    unsigned = replace(CODES, dtype="uint8", zero_point=131)
    stored = np.array([[0, 131, 132, 255]], np.uint8)
    row = as_network(stored, unsigned, place="y", at=0)
    assert to_reals(row, unsigned).tolist() == [-65.5, 0.0, 0.5, 62.0]
    (between,) = tallies(["y"], [unsigned], [CODES])
    signed = np.array([[-128, 3, 4, 127]], np.int8)
    between.add(to_reals(signed, CODES), to_reals(row[np.newaxis], unsigned))
    assert between.result().equal_share == 1.0
    (apart,) = tallies(["y"], [CODES], [replace(CODES, scale=0.25)])
    apart.add(np.zeros((1, 4)), np.zeros((1, 4)))
    assert isinstance(apart.result().equal_share, Unavailable)


def test_whole_numbers_are_equal_or_not() -> None:
    (gathered,) = tallies(["y"], [TensorSpec("y", (1, 3), "int64", "plain", None, None)])
    gathered.add(np.array([[1, 2, 3]]), np.array([[1, 2, 4]]))
    assert gathered.result().equal_share == pytest.approx(2 / 3)


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
        return tiny.output_fidelity(sqnr, 1.0, error, 1.0, name=name)

    outputs = output("a", 30.0), output("b", 20.0), output("c", EQUAL, 0.0)
    found = Fidelity("x", 1, outputs, {}, ())
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
        (lambda f: f["differing"].update(tiny=[5]), "of the 5 that were compared"),
        (lambda f: f["differing"].update(tiny=[2, 1]), "in order, each once"),
    ],
)
def test_reports_that_contradict_themselves(change: Any, sentence: str) -> None:
    document = tiny.to_document(tiny.example_report())
    change(document["fidelity"])
    with pytest.raises(InputError, match=sentence):
        parse_report(format_json(document), place="r.json")
