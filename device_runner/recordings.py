"""Recordings of any length with what was said in them, as a bundle carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.chunks import Chunks, Piece, cut, join, plan_pieces
from edgeticket.device_runner.ctc import Decoder
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.npy import parse_npy
from edgeticket.device_runner.strict_json import parse_json


@dataclass(frozen=True)
class Transcripts:
    """What was said in recordings, and which queries are of which."""

    texts: tuple[str, ...]
    seconds: float  # that they last together
    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        return len(self.texts)


def parse_recordings(
    samples: bytes, transcripts: bytes, *, places: tuple[str, str]
) -> tuple[npt.NDArray[np.int16], tuple[int, ...], tuple[str, ...]]:
    """Bytes of both files -> int16 [all samples], length of each recording, text of each.

    Args:
        samples: .npy, int16, all recordings end to end.
        transcripts: JSON, ``{"samples": [lengths], "texts": [what was said]}``.
        places: what errors call the two.

    Raises:
        InputError: one is not that, or they do not fit.
    """
    flat = parse_npy(samples, dtypes=["int16"], ranks=[1], place=places[0])
    document = parse_json(transcripts, place=places[1])
    fields = document if isinstance(document, dict) else {}
    lengths, texts = fields.get("samples"), fields.get("texts")
    if set(fields) != {"samples", "texts"} or not (_all(int, lengths) and _all(str, texts)):
        raise InputError(
            f'{places[1]} must be {{"samples": [lengths], "texts": [what was said]}} and is not'
        )
    assert isinstance(lengths, list)
    assert isinstance(texts, list)
    if len(lengths) != len(texts) or not lengths:
        raise InputError(
            f"{places[1]} has {len(lengths)} lengths of recordings and {len(texts)} transcripts: "
            "there must be as many, and one at least"
        )
    if min(lengths) < 1 or sum(lengths) != len(flat):
        raise InputError(
            f"{places[1]} tells of {sum(lengths)} samples, the shortest recording with "
            f"{min(lengths)}, but {places[0]} has {len(flat)}"
        )
    return flat, tuple(lengths), tuple(texts)


def to_queries(
    flat: npt.NDArray[np.int16], lengths: Sequence[int], texts: Sequence[str], chunks: Chunks
) -> tuple[npt.NDArray[np.int16], Transcripts]:
    """Recordings end to end -> queries int16 [pieces, window], and what they belong to."""
    recordings = np.split(flat, np.cumsum(lengths)[:-1])
    pieces = plan_pieces(lengths, chunks)
    said = Transcripts(tuple(texts), sum(lengths) / chunks.rate_hz, pieces)
    return cut(recordings, pieces, chunks), said


def transcribe(
    outputs: npt.NDArray[Any], said: Transcripts, *, symbols: Sequence[str], decoder: Decoder
) -> list[str]:
    """Outputs [queries, frames, symbols] -> the text of each recording."""
    whole = join(outputs, said.pieces, count=len(said))
    return ["".join(symbols[i] for i in decoder.decode(frames)) for frames in whole]


def _all(kind: type, items: Any) -> bool:
    return isinstance(items, list) and all(type(item) is kind for item in items)
