"""CTC decoding against all alignments counted out, and error rates against jiwer's."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeticket.device_runner.ctc import Decoder, decode_by_beam, decode_greedily
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.transcripts import (
    character_error_rate,
    edit_distance,
    word_error_rate,
)


def merged(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)


def most_probable(logits: Any) -> tuple[tuple[int, ...], float]:
    """Over all paths -> the best text, and by how much it is better than the next."""
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        total[merged(path)] += float(
            np.prod([p[s] for p, s in zip(probabilities, path, strict=True)])
        )
    (best, first), (_, second) = sorted(total.items(), key=lambda item: -item[1])[:2]
    return best, first - second


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 6), symbols=st.integers(2, 4))
def test_a_wide_beam_finds_the_most_probable_text(seed: int, frames: int, symbols: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, symbols))
    best, lead = most_probable(logits)
    if lead > 1e-9:
        assert decode_by_beam(logits, width=10_000) == best


@given(path=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_sure_outputs_are_decoded_alike(path: list[int]) -> None:
    logits = np.full((len(path), 5), -50, dtype=np.int8)
    logits[np.arange(len(path)), path] = 50
    assert decode_greedily(logits) == merged(tuple(path))
    assert decode_by_beam(logits, width=3) == merged(tuple(path))


def test_a_beam_counts_alignments_together() -> None:
    # One path of blanks is the likeliest, but three paths say "1": greedy is wrong.
    logits = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert decode_greedily(logits) == ()
    assert decode_by_beam(logits, width=4) == (1,)


@pytest.mark.parametrize("beam", [None, 8])
def test_a_separator_that_is_held_back_joins_words(beam: int | None) -> None:
    # Symbols: blank, space, A. Where the space leads, it leads by one nat.
    logits = np.array([[0.0, -9, 9], [0.0, 2, 1], [0.0, -9, 9]])
    apart, together = (2, 1, 2), (2,)
    decoders = [Decoder(beam, None, 1, bias) for bias in (0.0, -0.5, -2.0)]
    assert [decoder.decode(logits) for decoder in decoders] == [apart, apart, together]
    assert Decoder(beam, None, None, -2.0).decode(logits) == apart
    assert [decoder.name.partition(", ")[2] for decoder in decoders] == [
        "", "separator -0.5", "separator -2",
    ]  # fmt: skip
    codes = (logits * 10).astype(np.int8)
    assert Decoder(beam, 0.1, 1, -2.0).decode(codes) == together
    assert codes[1, 1] == 20  # what the runtime gave is not changed


WORDS = st.lists(st.sampled_from(["a", "bb", "cat", "it's", "dog"]), max_size=7)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_error_rates_are_jiwers(pairs: list[tuple[list[str], list[str]]]) -> None:
    said = [" ".join(["so", *a]) for a, _ in pairs]
    heard = [" ".join(b) for _, b in pairs]
    assert word_error_rate(said, heard) == pytest.approx(jiwer.wer(said, heard), abs=1e-12)
    assert character_error_rate(said, heard) == pytest.approx(jiwer.cer(said, heard), abs=1e-12)


@given(a=st.text("abc", max_size=8), b=st.text("abc", max_size=8), c=st.text("abc", max_size=8))
def test_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_more_words_than_were_said() -> None:
    assert word_error_rate(["yes"], ["no no no"]) == 3.0


def test_nothing_said() -> None:
    with pytest.raises(InputError, match="no words were said"):
        word_error_rate([" "], ["yes"])
    with pytest.raises(InputError, match="2 transcripts of what was said, 1 of what was heard"):
        character_error_rate(["a", "b"], ["a"])
