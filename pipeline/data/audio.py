"""Recordings as 16-bit samples, or a sentence on what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.data.examples import Collection
from edgeticket.pipeline.progress import Progress

SUFFIXES = (".wav", ".flac")
_STREAMED = (0, 2**32 - 1)  # the size in the head of a WAV file that was written into a pipe


def read_waveform(path: Path, *, rate_hz: int) -> npt.NDArray[np.int16]:
    """An audio file -> int16 [samples].

    Raises:
        InputError: it is missing, damaged or empty, or has another rate or more than one channel.
    """
    import soundfile  # here, because most of the pipeline never hears anything

    try:
        with soundfile.SoundFile(path) as file:
            rate, channels, promised = file.samplerate, file.channels, file.frames
            samples: npt.NDArray[np.int16] = file.read(dtype="int16", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        if not path.exists():
            raise InputError(f"no file {path}") from None
        raise InputError(
            f"{path} is no recording that can be read ({error}): copy it again"
        ) from None
    if len(samples) != promised or _is_cut_short(path):
        raise InputError(f"{path} is cut short: copy it again")
    if rate != rate_hz:
        raise InputError(
            f"{path} has {rate} samples per second, not {rate_hz}: resample it, for example with "
            f"`sox {path.name} -r {rate_hz} new.wav`"
        )
    if channels != 1:
        raise InputError(
            f"{path} has {channels} channels: mix them into one, for example with "
            f"`sox {path.name} -c 1 new.wav`"
        )
    if not len(samples):
        raise InputError(f"{path} has no samples: record it again, or leave it out")
    return samples[:, 0]


def log_mel(rate_hz: int, *, layout: str) -> dict[str, Any]:
    """The step that makes 40 log-mel features of every 20 ms; see docs/speech.md."""
    return {
        "op": "log_mel",
        "rate_hz": rate_hz,
        "window_samples": 480,
        "hop_samples": 320,
        "fft_samples": 512,
        "centred": True,
        "power": 2,
        "mels": 40,
        "low_hz": 60.0,
        "high_hz": 7600.0,
        "scale": "htk",
        "equal_area": False,
        # About what the quiet of a living room has: below it there is nothing to be heard.
        "log_offset": 1e-3,
        "layout": layout,
    }


def find_in_place(
    name: str,
    path: Path,
    load: Callable[[], Collection],
    *,
    source: Path | None,
    progress: Progress,
) -> Path:
    """Look whether recordings lie whole where they should; nothing is downloaded.

    Raises:
        InputError: they do not; says what to do.
    """
    if source is not None:
        raise InputError(f"{name} is read where it lies: unpack or link it as {path}")
    load()
    progress.say(f"{path} is there already")
    return path


def _is_cut_short(path: Path) -> bool:
    """Whether a WAV file is shorter than it says; libsndfile reads what there is without a word."""
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little")
    is_sized = head[:4] == b"RIFF" and promised not in _STREAMED
    return is_sized and path.stat().st_size < promised + 8
