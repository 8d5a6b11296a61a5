"""Random changes of training recordings, drawn from PyTorch's generator for each batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GAIN_DB = 6.0  # louder or quieter
NOISE_DB = (-90.0, -50.0)  # white noise, relative to full scale
MASKS = 2  # on each axis
WIDEST = 0.2  # share of an axis that one mask hides at most
# Of recordings that are transcribed, about a word: so many frames of so many may be hidden.
STRETCH, APART = 25, 100


@dataclass(frozen=True)
class Speech:
    """How recordings are changed."""

    speed: float  # faster or slower by up to this share, and with it higher or lower
    shift: float  # earlier or later by up to this share of the recording
    whole: bool = False  # every word must stay, so recordings get longer instead of being cut


# By name.
SPEECH = {
    "speech": Speech(0.0, 0.1),
    "speech_speed": Speech(0.15, 0.1),
    "speech_whole": Speech(0.1, 0.0, whole=True),
}


def perturb(waveforms: Tensor, speech: Speech) -> Tensor:
    """int16 [N, samples] -> float32 of the same scale: played faster or slower, moved, with another
    loudness, in noise. Silence moves in from the ends."""
    samples = waveforms.shape[1]
    middle = (samples - 1) / 2
    at = torch.arange(samples, device=waveforms.device) - middle
    at = at * _between(1 - speech.speed, 1 + speech.speed, waveforms)
    at = at + middle + samples * _between(-speech.shift, speech.shift, waveforms)
    return _in_noise(_read(waveforms, at))


def stretch(waveforms: Tensor, lengths: Tensor, speech: Speech) -> tuple[Tensor, Tensor]:
    """int16 [N, samples], of which so many are not padding -> the same as float32, each played
    faster or slower, with another loudness, in noise; and their lengths then."""
    samples = math.ceil(waveforms.shape[1] / (1 - speech.speed))
    speed = _between(1 - speech.speed, 1 + speech.speed, waveforms)
    at = torch.arange(samples, device=waveforms.device) * speed
    return _in_noise(_read(waveforms, at)), lengths / speed[:, 0]


def _between(low: float, high: float, waveforms: Tensor) -> Tensor:
    """One number for each, [N, 1]."""
    return (low + (high - low) * torch.rand(len(waveforms), 1)).to(waveforms.device)


def _read(waveforms: Tensor, at: Tensor) -> Tensor:
    """Values at the places ``at`` [N, any], between samples; 0 outside."""
    samples = waveforms.shape[1]
    before = at.floor()
    first = before.long().clamp(0, samples - 1)
    values = waveforms.float()
    left, right = values.gather(1, first), values.gather(1, (first + 1).clamp(max=samples - 1))
    moved = torch.lerp(left, right, at - before)
    return torch.where((at >= 0) & (at <= samples - 1), moved, 0.0)


def _in_noise(waveforms: Tensor) -> Tensor:
    loudness = 32768 * 10 ** (_between(*NOISE_DB, waveforms) / 20)
    noise = loudness * torch.randn(waveforms.shape).to(waveforms)
    return waveforms * 10 ** (_between(-GAIN_DB, GAIN_DB, waveforms) / 20) + noise


def hide(features: Tensor, speech: Speech) -> Tensor:
    """SpecAugment (Park et al. 2019) without warping: some frames and some mels become 0.

    Features are normalised, [N, 1, frames, mels] or [N, mels, frames].
    """
    mels = 3 if features.ndim == 4 else 1
    frames = features.shape[2]
    masks, widest = (frames // APART, STRETCH) if speech.whole else (MASKS, WIDEST * frames)
    for i in range(max(masks, MASKS)):
        if i < masks:
            features = _hide_some(features, 2, widest)
        if i < MASKS:
            features = _hide_some(features, mels, WIDEST * features.shape[mels])
    return features


def _hide_some(features: Tensor, axis: int, widest: float) -> Tensor:
    count, size = len(features), features.shape[axis]
    width = (torch.rand(count, 1) * widest).floor()
    start = (torch.rand(count, 1) * (size - width + 1)).floor()
    place = torch.arange(size)
    hidden = (place >= start) & (place < start + width)
    shape = [count] + [1] * (features.ndim - 1)
    shape[axis] = size
    return features.masked_fill(hidden.view(shape).to(features.device), 0.0)
