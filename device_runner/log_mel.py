"""Speech to log-mel energies: what speech networks see instead of a waveform.

The arithmetic of torchaudio's ``MelSpectrogram`` and a logarithm, in float64, so that neither the
machine nor numpy's version changes more than the last bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

Float64 = npt.NDArray[np.float64]

FULL_SCALE = 32768.0  # 16-bit samples to -1..1
_BLOCK = 256  # frames at a time: bounds the memory, changes no number


def log_mel(waveforms: npt.NDArray[np.float32], step: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """16-bit samples [N, samples] -> ln(energies + ``log_offset``), [N, frames, mels].

    With ``layout`` NHWC a last axis of 1 makes it a picture, for 2-D convolutions.

    Args:
        waveforms: whole numbers, −32768..32767.
        step: see ``log_mel`` in ``schemas/manifest.schema.json``; times are in samples.

    Raises:
        InputError: no waveforms, or ones that are too short for a frame.
    """
    if waveforms.ndim != 2:
        raise InputError(
            f"preprocessing: log_mel takes waveforms [N, samples], not {list(waveforms.shape)}"
        )
    count_frames(waveforms.shape[1], step)
    filters = mel_filters(step)
    taper = _taper(step["window_samples"], step["fft_samples"])
    energies = np.stack([_energies(row, step, taper, filters) for row in waveforms])
    values: npt.NDArray[np.float32] = np.log(energies + step["log_offset"]).astype(np.float32)
    return values[..., np.newaxis] if step["layout"] == "NHWC" else values


def count_frames(samples: int, step: Mapping[str, Any]) -> int:
    """How many frames a waveform gives.

    Raises:
        InputError: it is too short.
    """
    fft = step["fft_samples"]
    shortest = fft // 2 + 1 if step["centred"] else fft  # the mirrored ends need as much
    if samples < shortest:
        raise InputError(
            f"preprocessing: log_mel needs {shortest} samples or more for its windows of {fft}, "
            f"not {samples}; use longer recordings, or pad them with zeros"
        )
    padded = samples + 2 * (fft // 2) * step["centred"]
    frames: int = 1 + (padded - fft) // step["hop_samples"]
    return frames


def mel_filters(step: Mapping[str, Any]) -> Float64:
    """Triangular filters [fft_samples // 2 + 1, mels] between ``low_hz`` and ``high_hz``.

    Raises:
        InputError: the frequencies are not in order, or beyond half the rate.
    """
    low, high, rate = step["low_hz"], step["high_hz"], step["rate_hz"]
    if not low < high <= rate / 2:
        raise InputError(
            f"preprocessing: log_mel has low_hz {low:g}, high_hz {high:g} and rate_hz {rate}: "
            "low must be below high, and high at most half the rate"
        )
    if step["window_samples"] > step["fft_samples"]:
        raise InputError(
            f"preprocessing: log_mel has a window of {step['window_samples']} samples in a "
            f"transform of {step['fft_samples']}: fft_samples must be as many or more"
        )
    return _filters(
        rate, step["fft_samples"], step["mels"], low, high, step["scale"], step["equal_area"]
    )


@functools.lru_cache(maxsize=16)
def _filters(
    rate: int, fft: int, mels: int, low: float, high: float, scale: str, equal_area: bool
) -> Float64:
    to_mel, to_hz = SCALES[scale]
    edges = to_hz(np.linspace(to_mel(np.float64(low)), to_mel(np.float64(high)), mels + 2))
    bins = np.linspace(0.0, rate // 2, fft // 2 + 1)[:, np.newaxis]
    width = np.diff(edges)
    rising = (bins - edges[:-2]) / width[:-1]
    falling = (edges[2:] - bins) / width[1:]
    filters: Float64 = np.maximum(0.0, np.minimum(rising, falling))
    if equal_area:
        filters *= 2.0 / (edges[2:] - edges[:-2])
    filters.flags.writeable = False  # it is shared
    return filters


@functools.lru_cache(maxsize=16)
def _taper(window: int, fft: int) -> Float64:
    """Hann's window for spectra (periodic), in the middle of the transform."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    before = (fft - window) // 2
    taper: Float64 = np.pad(hann, (before, fft - window - before))
    taper.flags.writeable = False
    return taper


def _energies(
    waveform: npt.NDArray[np.float32], step: Mapping[str, Any], taper: Float64, filters: Float64
) -> Float64:
    """[samples] -> [frames, mels]."""
    samples = waveform.astype(np.float64) / FULL_SCALE
    if step["centred"]:
        samples = np.pad(samples, step["fft_samples"] // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(samples, step["fft_samples"])
    frames = frames[:: step["hop_samples"]]
    energies = np.empty((len(frames), filters.shape[1]))
    for start in range(0, len(frames), _BLOCK):
        block = slice(start, start + _BLOCK)
        spectrum = np.fft.rfft(frames[block] * taper)
        energies[block] = np.abs(spectrum) ** step["power"] @ filters
    return energies


def _htk_mel(hz: Any) -> Any:
    """O'Shaughnessy 1987, as HTK has it."""
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mel: Any) -> Any:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


_SLANEY_STEP = np.log(6.4) / 27.0  # above 1000 Hz, which is mel 15


def _slaney_mel(hz: Any) -> Any:
    """Slaney 1998, Auditory Toolbox: linear up to 1000 Hz, logarithmic above."""
    return np.where(
        hz < 1000.0, hz * 3.0 / 200.0, 15.0 + np.log(np.maximum(hz, 1.0) / 1000.0) / _SLANEY_STEP
    )


def _slaney_hz(mel: Any) -> Any:
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(_SLANEY_STEP * (mel - 15.0)))


# By name: from Hz to mel, and back.
SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "htk": (_htk_mel, _htk_hz),
    "slaney": (_slaney_mel, _slaney_hz),
}
