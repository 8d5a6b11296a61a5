"""From the outputs of a CTC network to symbols (Graves et al. 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BLANK = 0
SEPARATOR = " "  # between words

Symbols = tuple[int, ...]


@dataclass(frozen=True)
class Decoder:
    """How outputs become symbols: greedily, or with a beam that keeps ``beam`` beginnings.

    A network that is unsure of where words end sees too many of them, and every word too many is an
    error. So ``separator_bias`` is added to the logit of ``separator`` in every frame; below 0 it
    gives fewer and longer words.
    """

    beam: int | None = None
    scale: float | None = None  # real value of one step of integer outputs
    separator: int | None = None  # the symbol between words; None: there is none
    separator_bias: float = 0.0  # in nats

    @property
    def name(self) -> str:
        """For people."""
        name = "greedy" if self.beam is None else f"beam {self.beam}"
        return f"{name}, separator {self.separator_bias:+g}" if self._biased else name

    def decode(self, outputs: npt.NDArray[Any]) -> Symbols:
        """[frames, symbols] -> symbols, as `decode_greedily` or `decode_by_beam`."""
        if self.beam is None and not self._biased:
            return decode_greedily(outputs)
        # The zero point shifts all logits of a frame alike; neither softmax nor argmax sees that.
        real = outputs * np.float64(1 if self.scale is None else self.scale)
        if self._biased:
            real[:, self.separator] += self.separator_bias
        return decode_greedily(real) if self.beam is None else decode_by_beam(real, width=self.beam)

    @property
    def _biased(self) -> bool:
        return self.separator is not None and self.separator_bias != 0


def find_separator(symbols: Sequence[str]) -> int | None:
    """Which of a network's symbols is between words, if one is."""
    return symbols.index(SEPARATOR) if SEPARATOR in symbols else None


def decode_greedily(outputs: npt.NDArray[Any]) -> Symbols:
    """[frames, symbols] -> the best symbol of each frame, repeats merged, blanks left out.

    Of equal outputs the lowest index wins, so codes give what their real values would.
    """
    best = outputs.argmax(axis=1)
    changed = np.concatenate([best[:1] >= 0, best[1:] != best[:-1]])
    return tuple(int(symbol) for symbol in best[changed] if symbol != BLANK)


def decode_by_beam(logits: npt.NDArray[Any], *, width: int = 16) -> Symbols:
    """Real-valued logits [frames, symbols] -> the most probable symbols.

    Prefix beam search (Graves 2012, Hannun et al. 2014) without a language model: all alignments
    of one text count together, and after each frame the ``width`` most probable beginnings stay.
    """
    # Prefix -> logarithms of its probability with a blank at the end, and without.
    beams: dict[Symbols, tuple[float, float]] = {(): (0.0, -math.inf)}
    for frame in _log_softmax(logits).tolist():
        grown: dict[Symbols, tuple[float, float]] = {}
        for prefix, (blank, symbol) in beams.items():
            either = _add(blank, symbol)
            _put(grown, prefix, blank=either + frame[BLANK])
            for i, score in enumerate(frame):
                if i == BLANK:
                    continue
                if prefix and prefix[-1] == i:
                    _put(grown, prefix, symbol=symbol + score)
                    _put(grown, (*prefix, i), symbol=blank + score)
                else:
                    _put(grown, (*prefix, i), symbol=either + score)
        best = sorted(grown.items(), key=lambda item: (-_add(*item[1]), item[0]))
        beams = dict(best[:width])
    return next(iter(beams))


def _put(
    beams: dict[Symbols, tuple[float, float]],
    prefix: Symbols,
    *,
    blank: float = -math.inf,
    symbol: float = -math.inf,
) -> None:
    old_blank, old_symbol = beams.setdefault(prefix, (-math.inf, -math.inf))
    beams[prefix] = (_add(old_blank, blank), _add(old_symbol, symbol))


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def _log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    real = logits.astype(np.float64)
    real = real - real.max(axis=1, keepdims=True)
    logs: npt.NDArray[np.float64] = real - np.log(np.exp(real).sum(axis=1, keepdims=True))
    return logs
