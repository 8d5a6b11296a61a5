"""Random changes of training recordings, drawn from PyTorch's generator for each batch."""

from __future__ import annotations

import torch
from torch import Tensor

# By name: faster or slower by up to this share, and with it higher or lower, as another voice.
SPEEDS = {"speech": 0.0, "speech_speed": 0.15}
SHIFT = 0.1  # earlier or later by up to this share of the recording
GAIN_DB = 6.0  # louder or quieter
NOISE_DB = (-90.0, -50.0)  # white noise, relative to full scale
MASKS = 2  # on each axis
WIDEST = 0.2  # share of an axis that one mask hides at most


def perturb(waveforms: Tensor, *, speed: float) -> Tensor:
    """int16 [N, samples] -> float32 of the same scale: played faster or slower by a share of up to
    ``speed``, moved, with another loudness, in noise. Silence moves in from the ends."""
    count, samples = waveforms.shape

    def between(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, 1)).to(waveforms.device)

    middle = (samples - 1) / 2
    at = torch.arange(samples, device=waveforms.device) - middle
    at = at * between(1 - speed, 1 + speed) + middle + samples * between(-SHIFT, SHIFT)
    before = at.floor()
    first = before.long().clamp(0, samples - 1)
    values = waveforms.float()
    left, right = values.gather(1, first), values.gather(1, (first + 1).clamp(max=samples - 1))
    moved = torch.lerp(left, right, at - before)
    moved = torch.where((at >= 0) & (at <= samples - 1), moved, 0.0)
    noise = 32768 * 10 ** (between(*NOISE_DB) / 20) * torch.randn(count, samples).to(moved)
    return moved * 10 ** (between(-GAIN_DB, GAIN_DB) / 20) + noise


def hide(features: Tensor) -> Tensor:
    """SpecAugment (Park et al. 2019) without warping: some frames and some mels become 0.

    Features are normalised, [N, 1, frames, mels] or [N, mels, frames].
    """
    mels = 3 if features.ndim == 4 else 1
    for _ in range(MASKS):
        features = _hide_some(_hide_some(features, 2), mels)
    return features


def _hide_some(features: Tensor, axis: int) -> Tensor:
    count, size = len(features), features.shape[axis]
    width = (torch.rand(count, 1) * WIDEST * size).floor()
    start = (torch.rand(count, 1) * (size - width + 1)).floor()
    place = torch.arange(size)
    hidden = (place >= start) & (place < start + width)
    shape = [count] + [1] * (features.ndim - 1)
    shape[axis] = size
    return features.masked_fill(hidden.view(shape).to(features.device), 0.0)
