"""Long recordings through a network of fixed length: overlapping chunks, and one answer again.

A network that answers every so many samples sees a bounded stretch around each of them. Chunks
overlap by that stretch, answers near their inner edges are dropped, and what is left is what the
network would have said of the whole recording at once. The same holds for a stream: an answer is
final ``context_samples`` after it was heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError


@dataclass(frozen=True)
class Chunks:
    """How recordings become queries; all but the rate in samples."""

    rate_hz: int
    window_samples: int  # of one query
    context_samples: int  # at inner edges, that only surround what answers are kept of
    stride_samples: int  # from one answer to the next

    @property
    def step_samples(self) -> int:
        """From one query of a long recording to the next: what each of them brings that is new."""
        inner = self.window_samples - 2 * self.context_samples
        return inner // self.stride_samples * self.stride_samples

    @property
    def step_s(self) -> float:
        return self.step_samples / self.rate_hz


@dataclass(frozen=True)
class Piece:
    """One query: where it starts in its recording, and which of its answers are kept."""

    recording: int
    start: int
    kept: slice


def check_chunks(chunks: Chunks, *, place: str) -> None:
    """Queries must advance, and by whole answers.

    Raises:
        InputError: they do not.
    """
    if chunks.step_samples <= 0 or chunks.context_samples % chunks.stride_samples:
        raise InputError(
            f"{place}: a window of {chunks.window_samples} samples with {chunks.context_samples} "
            f"of context and a stride of {chunks.stride_samples}: the context must be whole "
            "strides, and twice of it shorter than the window by a stride"
        )


def plan_pieces(lengths: Sequence[int], chunks: Chunks) -> tuple[Piece, ...]:
    """The queries for recordings of so many samples, in order; together they keep one answer for
    each whole stride of a recording.

    The first query begins with its recording and the last ends with it (and with up to a stride of
    silence behind, or more if the recording is shorter than a query).
    """
    window, context = chunks.window_samples, chunks.context_samples
    stride, step = chunks.stride_samples, chunks.step_samples
    pieces = []
    for i, length in enumerate(lengths):
        last = max(0, -(-(length - window) // stride)) * stride
        answers, done = max(1, length // stride), 0
        for start in [*range(0, last, step), last]:
            first = done - start // stride
            end = answers if start == last else (start + step + context) // stride
            pieces.append(Piece(i, start, slice(first, end - start // stride)))
            done = end
    return tuple(pieces)


def cut(
    recordings: Sequence[npt.NDArray[np.int16]], pieces: Sequence[Piece], chunks: Chunks
) -> npt.NDArray[np.int16]:
    """Recordings -> the samples of all queries, int16 [pieces, window]."""
    queries: npt.NDArray[np.int16] = np.zeros((len(pieces), chunks.window_samples), np.int16)
    for row, piece in zip(queries, pieces):
        samples = recordings[piece.recording][piece.start : piece.start + len(row)]
        row[: len(samples)] = samples
    return queries


def join(
    answers: npt.NDArray[Any], pieces: Sequence[Piece], *, count: int
) -> list[npt.NDArray[Any]]:
    """Answers [pieces, frames, ...] -> those of each of ``count`` recordings [frames, ...]."""
    parts: list[list[npt.NDArray[Any]]] = [[] for _ in range(count)]
    for answer, piece in zip(answers, pieces):
        parts[piece.recording].append(answer[piece.kept])
    return [np.concatenate(part) for part in parts]
