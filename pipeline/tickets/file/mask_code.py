"""Masks as bits: an entropy coder for matrices of which few elements are kept.

Interleaved rANS (Duda, "Asymmetric Numeral Systems", 2013; Giesen, "Interleaved Entropy Coders",
2014): `LANES` states side by side, so that numpy codes as many elements at once. How likely an
element is to be kept is counted along the way, for each row or each column of its matrix: tickets
keep many weights of some units and hardly any of others, and what is known from the elements
before costs nothing to store. Whole numbers throughout: every machine decodes the same.

docs/ticket-format.md has the format in steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]

LANES = 32  # each costs about three bytes at the end
PRECISION = 14
ONE = 1 << PRECISION  # a frequency of ONE would be certainty
LOWEST = 1 << 16  # states are from here to 2^32 − 1; the decoder ends where the encoder began
PRIORS = (4, 16, 64, 2**20)  # the last leaves the density as it is in the whole matrix


@dataclass(frozen=True)
class Model:
    """How the elements of one matrix [outputs, inputs] are expected to be kept."""

    kept: int  # elements that are 1, but for known ones
    along: Literal["outputs", "inputs"]  # what has a density of its own; visited the other way
    prior: int  # how many elements the density of the whole matrix counts as


@dataclass(frozen=True, eq=False)
class Known:
    """Elements of a matrix that a reader knows without the code: bool [outputs, inputs] each."""

    zeros: Bits
    ones: Bits

    @property
    def free(self) -> Bits:
        """The others."""
        return ~(self.zeros | self.ones)

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Known:
        """Nothing is known."""
        return cls(np.zeros(shape, np.bool_), np.zeros(shape, np.bool_))


class DamagedMaskError(ValueError):
    """The code was not written by `encode` with the same models."""


def fit(matrix: Bits, known: Known | None = None) -> Model:
    """The model that codes ``matrix`` [outputs, inputs] in the fewest bits."""
    known = known or Known.none(matrix.shape)
    kept, size = _counted(matrix, known)
    if _is_certain(kept, size):
        return Model(kept, "outputs", PRIORS[0])
    cost_of = -np.log2(np.maximum(np.arange(ONE), 1) / ONE)  # bits, of a frequency
    costs = {}
    for along in ("outputs", "inputs"):
        rows, free = _visited(matrix, along), _visited(known.free, along)
        for prior in PRIORS:
            model = Model(kept, along, prior)
            of_one = _all_frequencies(rows, model, known, size)
            costs[model] = cost_of[np.where(rows, of_one, ONE - of_one)[free]].sum()
    return min(costs, key=lambda model: costs[model])


def encode(
    matrices: Sequence[Bits], models: Sequence[Model], known: Sequence[Known] | None = None
) -> bytes:
    """Matrices [outputs, inputs] -> code: the states (uint32), then words (uint16).

    ``known`` is, for each, what `decode` will be given, too.
    """
    known = known or [Known.none(matrix.shape) for matrix in matrices]
    states = np.full(LANES, LOWEST, np.int64)
    words: list[NDArray[np.int64]] = []  # the last first
    for matrix, model, sure in reversed(list(zip(matrices, models, known, strict=True))):
        _, size = _counted(matrix, sure)
        if _is_certain(model.kept, size):
            continue
        rows = _visited(matrix, model.along)
        of_one = _all_frequencies(rows, model, sure, size)
        frequencies = np.where(rows, of_one, ONE - of_one)
        firsts = np.where(rows, 0, of_one)
        chunks = range(0, rows.shape[1], LANES)
        for row in reversed(range(len(rows))):
            for chunk in reversed(chunks):
                frequency = frequencies[row, chunk : chunk + LANES]
                state = states[: len(frequency)]
                full = state >= frequency << (32 - PRECISION)
                if full.any():
                    words.append((state[full] & 0xFFFF)[::-1])
                    state = np.where(full, state >> 16, state)
                quotient, rest = np.divmod(state, frequency)
                first = firsts[row, chunk : chunk + LANES]
                states[: len(frequency)] = (quotient << PRECISION) + rest + first
    ordered = np.concatenate([*words, np.zeros(0, np.int64)])[::-1]
    return states.astype("<u4").tobytes() + ordered.astype("<u2").tobytes()


def decode(
    code: bytes,
    shapes: Sequence[tuple[int, int]],
    models: Sequence[Model],
    known: Sequence[Known] | None = None,
) -> list[Bits]:
    """The inverse of `encode`; ``shapes`` are those of the matrices.

    Raises:
        DamagedMaskError: this is no such code.
    """
    known = known or [Known.none(shape) for shape in shapes]
    if len(code) < 4 * LANES or len(code) % 2:
        raise DamagedMaskError("the coded mask is cut off")
    states = np.frombuffer(code, "<u4", LANES).astype(np.int64)
    words = np.frombuffer(code, "<u2", offset=4 * LANES).astype(np.int64)
    taken = 0  # words
    matrices = []
    for shape, model, sure in zip(shapes, models, known, strict=True):
        size = int(np.count_nonzero(sure.free))
        if _is_certain(model.kept, size):
            matrices.append(sure.ones | (sure.free & (model.kept > 0)))
            continue
        rows = _visited(np.zeros(shape, np.bool_), model.along)
        free, ones = _visited(sure.free, model.along), _visited(sure.ones, model.along)
        counts = np.zeros(rows.shape[1], np.int64)
        seen = np.zeros(rows.shape[1], np.int64)
        for number, row in enumerate(rows):
            estimated = _frequencies(counts, seen, model, size)
            of_one = np.where(free[number], estimated, ONE * ones[number])
            for chunk in range(0, len(row), LANES):
                frequency = of_one[chunk : chunk + LANES]
                state = states[: len(frequency)]
                place = state & (ONE - 1)
                kept = place < frequency
                quotient = state >> PRECISION
                state = place + np.where(
                    kept, quotient * frequency, quotient * (ONE - frequency) - frequency
                )
                low = state < LOWEST
                count = int(np.count_nonzero(low))
                if taken + count > len(words):
                    raise DamagedMaskError("the coded mask ends too early")
                state[low] = state[low] << 16 | words[taken : taken + count]
                taken += count
                states[: len(frequency)] = state
                row[chunk : chunk + LANES] = kept
            counts += row & free[number]
            seen += free[number]
        matrix = rows if model.along == "inputs" else rows.T
        if np.count_nonzero(matrix & sure.free) != model.kept:
            raise DamagedMaskError(f"a mask does not keep the {model.kept} weights that it should")
        matrices.append(np.ascontiguousarray(matrix))
    if taken != len(words) or not (states == LOWEST).all():
        raise DamagedMaskError("the coded mask does not end where it should")
    return matrices


def bound_bits(sizes: Sequence[int], kept: Sequence[int]) -> float:
    """Σ n·H(k/n) over matrices: the least for masks of which nothing but the density is known."""
    total = 0.0
    for size, ones in zip(sizes, kept, strict=True):
        for count in (ones, size - ones):
            total -= count * math.log2(count / size) if count else 0.0
    return total


def _counted(matrix: Bits, known: Known) -> tuple[int, int]:
    """Ones among the elements that are not known, and how many elements these are."""
    free = known.free
    return int(np.count_nonzero(matrix & free)), int(np.count_nonzero(free))


def _is_certain(kept: int, size: int) -> bool:
    return kept in (0, size)


def _visited(matrix: Bits, along: Literal["outputs", "inputs"]) -> Bits:
    """The matrix as rows that are coded one after the other; densities belong to columns."""
    return matrix if along == "inputs" else np.ascontiguousarray(matrix.T)


def _all_frequencies(rows: Bits, model: Model, known: Known, size: int) -> NDArray[np.int64]:
    """How likely each element of all ``rows`` is to be 1; 0 or ONE where that is known."""
    free, ones = _visited(known.free, model.along), _visited(known.ones, model.along)
    counted = rows & free
    counts = np.cumsum(counted, axis=0, dtype=np.int64) - counted
    seen = np.cumsum(free, axis=0, dtype=np.int64) - free
    return np.where(free, _frequencies(counts, seen, model, size), ONE * ones)


def _frequencies(
    counts: NDArray[np.int64], seen: NDArray[np.int64], model: Model, size: int
) -> NDArray[np.int64]:
    """1 to ONE − 1: how likely each element is to be 1, from the ones among the free elements
    before it."""
    overall = min(max((model.kept * ONE + size // 2) // size, 1), ONE - 1)
    total = seen + model.prior
    estimates = (counts * ONE + model.prior * overall + total // 2) // total
    clipped: NDArray[np.int64] = np.clip(estimates, 1, ONE - 1)
    return clipped
