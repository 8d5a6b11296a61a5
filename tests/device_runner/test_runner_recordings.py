"""Recordings in bundles and texts in reports, as input that nobody vouches for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from speech_fixtures import CHUNKS, SYMBOLS, speech_manifest, speech_report

from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.ctc import Decoder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest, Task, write_manifest
from edgeticket.device_runner.npy import format_npy
from edgeticket.device_runner.recordings import parse_recordings, to_queries, transcribe
from edgeticket.device_runner.report import Report, parse_report
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

PLACES = ("a.npy", "b.json")


def npy(samples: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, samples, allow_pickle=False)
    return buffer.getvalue()


SAMPLES = npy(np.arange(50, dtype=np.int16))


def test_recordings_come_back() -> None:
    document = format_json({"samples": [20, 30], "texts": ["A", ""]})
    flat, lengths, texts = parse_recordings(SAMPLES, document, places=PLACES)
    assert (lengths, texts) == ((20, 30), ("A", ""))
    queries, said = to_queries(flat, lengths, texts, Chunks(10, 16, 0, 4))
    assert said.seconds == 5.0
    assert [piece.recording for piece in said.pieces] == [0, 0, 1, 1]
    np.testing.assert_array_equal(queries[1], [*range(4, 20)])
    np.testing.assert_array_equal(queries[3], [*range(36, 50), 0, 0])


@pytest.mark.parametrize(
    ("samples", "document", "says"),
    [
        (SAMPLES[:-1], {"samples": [50], "texts": ["A"]}, "a.npy promises shape"),
        (npy(np.zeros((2, 25), np.int16)), {"samples": [50], "texts": ["A"]}, "a.npy holds <i2"),
        (format_npy(np.zeros(9, np.float32)), {"samples": [9], "texts": ["A"]}, "must be int16"),
        (SAMPLES, [], "b.json must be"),
        (SAMPLES, {"samples": [50]}, "b.json must be"),
        (SAMPLES, {"samples": [50], "texts": ["A"], "more": 1}, "b.json must be"),
        (SAMPLES, {"samples": [50.0], "texts": ["A"]}, "b.json must be"),
        (SAMPLES, {"samples": [True], "texts": ["A"]}, "b.json must be"),
        (SAMPLES, {"samples": [50], "texts": [1]}, "b.json must be"),
        (SAMPLES, {"samples": [25, 25], "texts": ["A"]}, "2 lengths .* and 1 transcripts"),
        (SAMPLES, {"samples": [], "texts": []}, "one at least"),
        (SAMPLES, {"samples": [60, -10], "texts": ["A", "B"]}, "the shortest recording with -10"),
        (SAMPLES, {"samples": [49], "texts": ["A"]}, "tells of 49 samples"),
    ],
)
def test_files_that_do_not_fit(samples: bytes, document: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_recordings(samples, format_json(document), places=PLACES)
    assert "\n" not in str(caught.value)


def test_texts_of_codes_and_of_numbers_are_the_same() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (3, 20, len(SYMBOLS))).astype(np.int8)
    _, said = to_queries(np.zeros(30_000, np.int16), (21_000, 9_000), ("A", "B"), CHUNKS)
    real = (codes.astype(np.float32) + 3) * np.float32(0.05)
    for beam, bias in itertools.product((None, 4), (0.0, -1.5, 3.0)):
        heard = [
            transcribe(outputs, said, symbols=SYMBOLS, decoder=Decoder(beam, scale, 1, bias))
            for outputs, scale in ((codes, 0.05), (real, None))
        ]
        assert heard[0] == heard[1]
        assert len(heard[0]) == 2


def without_frames(manifest: Manifest) -> Manifest:
    first, *rest = manifest.artifacts
    output = replace(first.output, shape=(1, 19, len(SYMBOLS)))
    return replace(manifest, artifacts=(replace(first, outputs=(output,)), *rest))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_frames, r"must be NCW or NWC .* 4 symbols, and an answer for each of the 20"),
        (lambda m: replace(m, labels=("", "A")), r"one value for each of 2 symbols"),
        (lambda m: replace(m, chunks=None), "transcripts need chunks"),
        (lambda m: replace(m, chunks=None, task=Task("classes")), r"must be NC \[1, 4\]"),
        (
            lambda m: replace(m, labels=("", "_", "A", "B"), separator_bias=-1.0),
            "separator_bias is -1, but nothing is transcribed into words",
        ),
        (lambda m: replace(m, separator_bias=-101.0), "separator_bias"),
        (lambda m: replace(m, chunks=replace(CHUNKS, context_samples=6400)), "whole strides"),
        (lambda m: replace(m, chunks=replace(CHUNKS, stride_samples=0)), "stride_samples"),
    ],
)
def test_manifests_that_contradict_themselves(
    spoil: Callable[[Manifest], Manifest], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        write_manifest(spoil(speech_manifest()))


def accuracy(**changes: Any) -> Callable[[Report], Report]:
    return lambda report: replace(report, accuracy=replace(report.accuracy, **changes))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (accuracy(wer=0.1), "/accuracy/wer: 0.1 does not follow from the texts, which give 0.2"),
        (accuracy(cer=0.9), "/accuracy/cer: 0.9 does not follow"),
        (accuracy(heard=("A",)), "count is 2, but there are 1 texts that were heard and 2"),
        (accuracy(said=("", " ")), "no words were said"),
        (lambda r: replace(r, real_time=Unavailable("why")), "transcriptions have it"),
        (lambda r: replace(r, real_time=replace(r.real_time, factor=0.1)), "does not follow"),
    ],
)
def test_reports_that_contradict_themselves(spoil: Callable[[Report], Report], says: str) -> None:
    data = format_json(to_json(spoil(speech_report())))
    with pytest.raises(InputError, match=says):
        parse_report(data, place="report")
