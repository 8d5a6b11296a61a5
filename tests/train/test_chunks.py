"""Long recordings in pieces: every answer once, with enough context, and as if heard at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_fixtures import CHUNKS, STEPS, tiny_module

from edgeticket.device_runner.chunks import Chunks, check_chunks, cut, join, plan_pieces
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.models.network import Network
from edgeticket.pipeline.network.receptive_field import find_reach


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    stride=st.integers(1, 7),
    context=st.integers(0, 5),
    inner=st.integers(1, 40),
)
def test_every_answer_is_kept_once_and_has_its_context(
    lengths: list[int], stride: int, context: int, inner: int
) -> None:
    window = 2 * context * stride + inner + stride - 1
    chunks = Chunks(100, window, context * stride, stride)
    pieces = plan_pieces(lengths, chunks)
    recordings = [np.arange(1, n + 1, dtype=np.int16) for n in lengths]
    queries = cut(recordings, pieces, chunks)
    # An answer is the first sample of its stride: it tells its own place.
    answers = queries[:, : window // stride * stride : stride]
    for whole, samples in zip(join(answers, pieces, count=len(lengths)), recordings, strict=True):
        answered = max(1, len(samples) // stride)
        np.testing.assert_array_equal(whole, samples[: answered * stride : stride])
    for piece in pieces:
        at_start = piece.start == 0
        at_end = piece.start + window >= lengths[piece.recording]
        assert at_start or piece.kept.start >= context
        assert at_end or piece.kept.stop * stride + context * stride <= window


def test_chunks_that_do_not_advance_are_refused() -> None:
    for bad in (Chunks(100, 10, 5, 1), Chunks(100, 50, 5, 2), Chunks(100, 12, 4, 8)):
        with pytest.raises(InputError, match="the context must be whole strides"):
            check_chunks(bad, place="here")


def test_a_network_hears_in_chunks_what_it_hears_at_once() -> None:
    module = tiny_module()
    recording = np.random.default_rng(3).integers(-9000, 9000, 73_000).astype(np.int16)
    pieces = plan_pieces([len(recording)], CHUNKS)
    assert len(pieces) > 3
    end = pieces[-1].start + CHUNKS.window_samples
    at_once = np.pad(recording, (0, end - len(recording)))[np.newaxis]

    def answers(waveforms: np.ndarray) -> np.ndarray:
        features = torch.from_numpy(preprocess(waveforms, STEPS)).movedim(-1, 1)
        with torch.inference_mode():
            return np.asarray(module(features)).swapaxes(1, 2)

    (whole,) = join(answers(cut([recording], pieces, CHUNKS)), pieces, count=1)
    expected = answers(at_once)[0, : len(whole)]
    assert np.abs(whole - expected).max() <= 1e-4 * np.abs(expected).max()
    # The test can fail: with less context the answers differ.
    less = Chunks(CHUNKS.rate_hz, CHUNKS.window_samples, 640, CHUNKS.stride_samples)
    pieces = plan_pieces([len(recording)], less)
    (other,) = join(answers(cut([recording], pieces, less)), pieces, count=1)
    frames = min(len(other), len(expected))
    assert np.abs(other[:frames] - expected[:frames]).max() > 1e-2 * np.abs(expected).max()


def test_reach_is_what_changes_an_answer() -> None:
    args = {"mels": 6, "frames": 120, "width": 8, "blocks": 1, "kernel": 5, "symbols": 7}
    reach = find_reach(Network.fresh("separable_ctc", args, seed=0).module(), (6, 120))
    assert reach is not None
    # Stem 5 frames; two convolutions of 5 at half the rate; one of 7, dilated by 2.
    assert reach == (2, 2 + 2 * (2 * 2 + 2 * 3))
    short = {**args, "frames": 30}
    assert find_reach(Network.fresh("separable_ctc", short, seed=0).module(), (6, 30)) is None
