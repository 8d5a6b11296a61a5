"""Recordings of any length as one value that a split can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.chunks import Chunks

Array = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Spoken:
    """What is said in recordings, and how networks write it down.

    Args:
        texts: of each recording.
        symbols: a CTC network's: the blank, which is no text, then the characters.
        chunks: how a network of fixed length hears long recordings; None until it is known.
        separator_bias: of `device_runner.ctc.Decoder`; 0 until it is chosen.
    """

    texts: tuple[str, ...]
    symbols: tuple[str, ...]
    chunks: Chunks | None = None
    separator_bias: float = 0.0

    def take(self, which: npt.NDArray[np.int64]) -> Spoken:
        """That of the recordings at ``which``."""
        texts = tuple(self.texts[i] for i in which.tolist())
        return replace(self, texts=texts)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings end to end in one array; some rows come padded with silence to the longest of
    them."""

    samples: Array  # of all, also of those that are not taken
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, waveforms: Sequence[Array]) -> Recordings:
        """Waveforms int16 [samples] -> recordings."""
        lengths = np.array([len(waveform) for waveform in waveforms], dtype=np.int64)
        return cls(np.concatenate(waveforms), np.cumsum(lengths) - lengths, lengths)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.samples.dtype

    @property
    def ndim(self) -> int:
        return 2

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), int(self.lengths.max(initial=0))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, which: slice | npt.NDArray[np.int64]) -> Array:
        some = self.take(np.arange(len(self))[which])
        rows: Array = np.zeros(some.shape, np.int16)
        for row, waveform in zip(rows, some.waveforms(), strict=True):
            row[: len(waveform)] = waveform
        return rows

    def waveforms(self) -> list[Array]:
        """Each as it is, int16 [samples]."""
        ends = self.starts + self.lengths
        return [self.samples[a:b] for a, b in zip(self.starts, ends, strict=True)]

    def take(self, which: npt.NDArray[np.int64]) -> Recordings:
        """The recordings at ``which``, in that order; nothing is copied."""
        return Recordings(self.samples, self.starts[which], self.lengths[which])
