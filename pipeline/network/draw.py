"""Random weights that any reader in any language can draw again, bit for bit.

PyTorch's own draws depend on its version and on the width of the machine's vectors. These are whole
numbers from Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) and
a few IEEE operations that round alike everywhere. docs/ticket-format.md has it in steps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_TERMS = 12  # uniform numbers in a sum that is as good as normal


def draw(
    init: str, shape: Sequence[int], *, name: str, seed: int, kept: float
) -> NDArray[np.float32]:
    """The weights of the tensor ``name``: float32 of ``shape`` [outputs, inputs, ...].

    Args:
        init: a key of `DRAWS`.
        seed: 0..2^64 − 1; with the name it is all that decides.
        kept: the share of the weights that a ticket will keep.
    """
    fan_in = math.prod(shape[1:])
    deviation = math.sqrt(2 / (fan_in * kept))
    weights = DRAWS[init](_bit_generator(seed, name), math.prod(shape)) * deviation
    return weights.astype(np.float32).reshape(shape)


def settle(
    shape: Sequence[int], *, name: str, seed: int, zeros: float, ones: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which weights of the tensor ``name`` a seed prunes, and which it keeps: bool of ``shape``.

    The others are left to a search, and a mask has to say nothing of these two. Otsuka et al.,
    "Partially Frozen Random Networks Contain Compact Strong Lottery Tickets", arXiv 2402.14029.

    Args:
        zeros, ones: the shares of either, together at most 1.
    """
    size = math.prod(shape)
    bits = _bit_generator(seed, f"{name} settled")
    numbers = bits.random_raw(-(-size // 4)).astype("<u8").view("<u2")[:size].reshape(shape)
    return numbers < round(zeros * 2**16), numbers >= 2**16 - round(ones * 2**16)


def _bit_generator(seed: int, name: str) -> np.random.Philox:
    """Philox whose key is (seed, the first eight bytes of the name's SHA-256)."""
    of_name = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Philox(key=np.array([seed, of_name], np.uint64))


def _signs(bits: np.random.Philox, size: int) -> NDArray[np.float64]:
    """−1 where a bit is 1, else 1; the lowest bit of a word comes first."""
    raw = bits.random_raw(-(-size // 64)).astype("<u8").view(np.uint8)
    return 1.0 - 2 * np.unpackbits(raw, count=size, bitorder="little").astype(np.float64)


def _uniform(bits: np.random.Philox, size: int) -> NDArray[np.float64]:
    """Unit variance, 2^24 values between −√3 and √3: the middles of equal parts."""
    parts = bits.random_raw(size) >> np.uint64(40)
    return (2 * parts.astype(np.float64) + 1 - 2**24) * (math.sqrt(3) / 2**24)


def _normal(bits: np.random.Philox, size: int) -> NDArray[np.float64]:
    """Unit variance, the sum of twelve uniform 16-bit numbers, the lowest of a word first.

    A logarithm or a cosine would have other last bits on other machines.
    """
    raw = bits.random_raw(size * _TERMS // 4).astype("<u8").view("<u2")
    sums: NDArray[np.float64] = raw.reshape(size, _TERMS).sum(1, dtype=np.float64)
    return (sums - _TERMS * (2**16 - 1) / 2) / math.sqrt(2**32 - 1)


DRAWS: dict[str, Callable[[np.random.Philox, int], NDArray[np.float64]]] = {
    "kaiming_normal": _normal,
    "uniform": _uniform,
    "signed_constant": _signs,
}
