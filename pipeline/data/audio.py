"""Recordings as 16-bit samples, or a sentence on what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from device_runner.errors import InputError

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


def _is_cut_short(path: Path) -> bool:
    """Whether a WAV file is shorter than it says; libsndfile reads what there is without a word."""
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little")
    is_sized = head[:4] == b"RIFF" and promised not in _STREAMED
    return is_sized and path.stat().st_size < promised + 8
