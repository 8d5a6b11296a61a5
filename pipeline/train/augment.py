"""Random changes of training examples; those of images are drawn for a whole epoch at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.train.augment_speech import SPEECH, Speech, hide, perturb, stretch

# Largest shift in pixels, either way, and whether images are mirrored.
AUGMENTATIONS = {"none": (0, False), "shift": (2, False), "crop_flip": (4, True)}


@dataclass(frozen=True)
class Draw:
    """One epoch: the order of the examples, and what happens to each.

    ``order`` int64 [N] indexes the examples; ``corner`` int64 [N, 2] is the shift down and right
    plus ``reach``; ``mirror`` bool [N]. What happens to recordings is drawn when it happens.
    """

    order: Tensor
    corner: Tensor
    mirror: Tensor
    reach: int
    speech: Speech | None  # of recordings

    def take(self, part: slice) -> Draw:
        """The draw of the examples in ``part`` of the order."""
        return replace(
            self, order=self.order[part], corner=self.corner[part], mirror=self.mirror[part]
        )

    def to(self, device: torch.device) -> Draw:
        """The draw on another device."""
        order, corner, mirror = (t.to(device) for t in (self.order, self.corner, self.mirror))
        return replace(self, order=order, corner=corner, mirror=mirror)

    def apply(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, C] -> the same shape, shifted with black edges, some mirrored; or int16
        [N, samples] as `perturb` changes them."""
        if self.speech is not None:
            return perturb(images, self.speech)
        if self.reach == 0:
            return images
        count, height, width, _ = images.shape
        device = images.device
        rows = torch.arange(height, device=device) + self.corner[:, :1]  # [N, H] in the padded
        columns = torch.arange(width, device=device) + self.corner[:, 1:]  # [N, W]
        columns = torch.where(self.mirror[:, None], columns.flip(1), columns)
        padded = F.pad(images, (0, 0, *[self.reach] * 4))
        example = torch.arange(count, device=device)[:, None, None]
        return padded[example, rows[:, :, None], columns[:, None, :]]

    def stretch(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Padded recordings int16 [N, samples], with their own lengths, as `stretch` changes them
        and those."""
        if self.speech is None:
            return waveforms, lengths
        return stretch(waveforms, lengths, self.speech)

    def mask(self, features: Tensor) -> Tensor:
        """What the network takes -> the same, of speech with some parts hidden."""
        return features if self.speech is None else hide(features, self.speech)


def draw(augment: str, examples: int, *, seed: int) -> Draw:
    """A random order of ``examples``, and the changes that ``augment`` makes to each of them."""
    reach, mirrors = AUGMENTATIONS["none" if augment in SPEECH else augment]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(examples, generator=generator)
    corner = torch.randint(0, 2 * reach + 1, (examples, 2), generator=generator)
    mirror = torch.rand(examples, generator=generator) < (0.5 if mirrors else 0.0)
    return Draw(order, corner, mirror, reach, SPEECH.get(augment))


def check_augment(augment: str, stored: np.dtype[Any], *, whole: bool = False) -> None:
    """Images and recordings are not changed alike, nor are those that are transcribed, ``whole``;
    other arrays are not changed.

    Raises:
        InputError: the augmentation is for another kind.
    """
    kind, fitting = "images", list(AUGMENTATIONS)
    if stored not in (np.uint8, np.int16):
        kind, fitting = "arrays", []
    if stored == np.int16:
        kind = f"recordings{' that are transcribed' * whole}"
        fitting = [name for name, speech in SPEECH.items() if speech.whole == whole]
    if augment != "none" and augment not in fitting:
        known = ", ".join(dict.fromkeys(["none", *fitting]))
        raise InputError(f"train.augment: {augment} is not for {kind}; give one of {known}")
