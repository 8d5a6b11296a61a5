"""Outputs to top-1, top-5 and a hash."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import runner_fixtures as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgeticket.device_runner.accuracy import CHUNK, classify, infer_all
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.unavailable import Unavailable

PIXELS = np.zeros((20, 1, 1, 1), np.uint8)
ARTIFACT = tiny.tiny_manifest(tiny.tiny_files()).artifacts[0]


def test_known_outputs() -> None:
    outputs = np.array([[9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]], np.float32)
    found = classify(outputs, PIXELS[:2], np.array([0, 0]))
    assert (found.count, found.top1, found.top5) == (2, 0.5, 0.5)
    assert found.predictions == (0, 5)
    assert found.labels == (0, 0)
    assert found.outputs_sha256 == hashlib.sha256(outputs.astype("<f4").tobytes()).hexdigest()


def test_the_samples_hash_depends_on_inputs_and_labels() -> None:
    outputs, labels = np.zeros((2, 7), np.float32), np.array([0, 1])
    hashes = {
        classify(outputs, PIXELS[:2], labels).samples_sha256,
        classify(outputs, PIXELS[:2] + 1, labels).samples_sha256,
        classify(outputs, PIXELS[:2], labels[::-1]).samples_sha256,
    }
    assert len(hashes) == 3
    again = classify(outputs + 1, PIXELS[:2].copy(), labels.copy()).samples_sha256
    assert again in hashes  # the outputs play no part


def test_ties_go_to_the_lowest_index() -> None:
    outputs = np.array([[3, 3, 3, 3, 3, 3], [-128, 5, 5, -128, -128, -128]], np.int8)
    found = classify(outputs, PIXELS[:2], np.array([5, 3]))
    assert found.predictions == (0, 1)
    assert found.top5 == 0.5  # the sixth of six equals is out; 1 2 0 3 4 are in


@given(
    npst.arrays(np.int8, st.tuples(st.integers(1, 20), st.integers(2, 9))),
    st.integers(0, 2**32 - 1),
)
def test_predictions_are_numpys_argmax(outputs: Any, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, outputs.shape[1], len(outputs))
    found = classify(outputs, PIXELS[: len(labels)], labels)
    assert list(found.predictions) == np.argmax(outputs, axis=1).tolist()
    assert found.top1 == np.mean(np.argmax(outputs, axis=1) == labels)
    if outputs.shape[1] < 6:
        assert isinstance(found.top5, Unavailable)
    else:
        assert not isinstance(found.top5, Unavailable)
        assert found.top1 <= found.top5 <= 1


def test_uint8_codes_become_those_of_int8() -> None:
    row = np.array([[0, 127, 128, 255, 1, 2, 3]], np.uint8)
    codes = replace(ARTIFACT.output, dtype="uint8", scale=0.5, zero_point=3)
    artifact = replace(ARTIFACT, outputs=(codes,))
    found = infer_all(lambda x: row, tiny.samples(2)[0], steps=tiny.STEPS, artifact=artifact)
    assert found.dtype == np.int8
    assert found.tolist() == [[-128, -1, 0, 127, -127, -126, -125]] * 2


def test_every_sample_is_asked_once_and_in_order() -> None:
    inputs, _ = tiny.samples(2 * CHUNK + 3)
    asked: list[Any] = []

    def run(x: Any) -> Any:
        asked.append(x.copy())
        return np.full((1, 7), len(asked), np.float32)

    found = infer_all(run, inputs, steps=(), artifact=ARTIFACT)
    assert found[:, 0].tolist() == list(range(1, len(inputs) + 1))
    expected = inputs.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate(asked), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_name_the_sample(bad: float) -> None:
    rows = iter([np.zeros((1, 7), np.float32), np.full((1, 7), bad, np.float32)])
    with pytest.raises(InputError, match="tiny-ort-fp32: the outputs for sample 1 are not finite"):
        infer_all(lambda x: next(rows), tiny.samples(2)[0], steps=(), artifact=ARTIFACT)
