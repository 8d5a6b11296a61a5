"""Hummed letters: recordings in which a tone of 60 ms stands for each letter of a text."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from device_runner.chunks import Chunks
from models.network import Network
from pipeline.data import Recordings, Split, Spoken
from pipeline.data.librispeech_texts import PREPROCESSING, SYMBOLS

RATE = 16000
WORDS = ["AH", "BEE", "DO", "EM", "GO"]
ARGS = {"mels": 40, "frames": 100, "width": 8, "blocks": 1, "kernel": 5}
STEPS = list(PREPROCESSING)
CHUNKS = Chunks(RATE, 512 + 99 * 320, 22 * 320, 640)


def tiny_module() -> nn.Module:
    """A network whose reach is 22 frames."""
    return Network.fresh("separable_ctc", ARGS, seed=0).module()


def sound(text: str, seed: int) -> Any:
    """A tone of 60 ms for each letter, as a reader with ``seed`` hums it."""
    rng = np.random.default_rng(seed)
    t = np.arange(960) / RATE
    tones = [np.sin(2 * np.pi * 200 * 1.1 ** SYMBOLS.index(letter) * t) for letter in text]
    samples = 6000 * np.concatenate(tones) + rng.normal(0, 50, 960 * len(text))
    return samples.astype(np.int16)


def spoken(*texts: str, chunks: Chunks | None = CHUNKS) -> Split:
    recordings = Recordings.of([sound(text, i) for i, text in enumerate(texts)])
    labels = np.arange(len(texts), dtype=np.int64)
    return Split(recordings, labels, spoken=Spoken(texts, SYMBOLS, chunks))
