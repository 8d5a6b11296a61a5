"""How far transcripts are from what was said: word and character error rates."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from edgeticket.device_runner.errors import InputError


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Words that must be inserted, deleted or replaced, per word that was said.

    All utterances count together, so that long ones weigh more; it can exceed 1.

    Raises:
        InputError: nothing was said, or the numbers of transcripts differ.
    """
    return _error_rate([text.split() for text in said], [text.split() for text in heard], "words")


def character_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """The same for characters, of which spaces between words are some.

    Raises:
        InputError: as `word_error_rate`.
    """
    return _error_rate([t.strip() for t in said], [t.strip() for t in heard], "characters")


def count_word_errors(said: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int]]:
    """For each utterance, how many words are wrong and how many were said."""
    pairs = [(a.split(), b.split()) for a, b in zip(said, heard)]
    return [(edit_distance(a, b), len(a)) for a, b in pairs]


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and replacements from ``a`` to ``b`` (Levenshtein 1966)."""
    numbers: dict[Hashable, int] = {}
    first, second = (np.array([numbers.setdefault(x, len(numbers)) for x in s]) for s in (a, b))
    places = np.arange(len(second) + 1)
    row = places
    for i, item in enumerate(first):
        # Without insertions first; those are then a running minimum.
        without = np.minimum(row[1:] + 1, row[:-1] + (second != item))
        without = np.concatenate([[i + 1], without])
        row = np.minimum.accumulate(without - places) + places
    return int(row[-1])


def _error_rate(
    said: Sequence[Sequence[Hashable]], heard: Sequence[Sequence[Hashable]], what: str
) -> float:
    if len(said) != len(heard):
        raise InputError(
            f"{len(said)} transcripts of what was said, {len(heard)} of what was heard"
        )
    length = sum(map(len, said))
    if length == 0:
        raise InputError(f"no {what} were said, so that there is no error rate; give transcripts")
    return sum(edit_distance(a, b) for a, b in zip(said, heard)) / length
