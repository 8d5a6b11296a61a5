"""Random changes of training examples; those of images are drawn for a whole epoch at once.

What is right moves along, see `augment_targets`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.train.augment_speech import SPEECH, Speech, hide, perturb, stretch


@dataclass(frozen=True)
class Pictured:
    """How pictures are changed."""

    reach: int = 0  # the largest shift in pixels, either way
    mirrors: bool = False  # half of them
    zoom: float = 0.0  # larger or smaller by up to this share, and moved by up to as much as fits
    light: float = 0.0  # brighter or darker by up to this share of the range; contrast likewise


# By name.
AUGMENTATIONS = {
    "none": Pictured(),
    "flip": Pictured(mirrors=True),
    "shift": Pictured(reach=2),
    "crop_flip": Pictured(reach=4, mirrors=True),
    "light": Pictured(light=0.2),
    "zoom": Pictured(zoom=0.4),
    "zoom_flip": Pictured(zoom=0.4, mirrors=True),
    "zoom_flip_light": Pictured(zoom=0.4, mirrors=True, light=0.2),
}


@dataclass(frozen=True)
class Draw:
    """One epoch: the order of the examples, and what happens to each.

    ``order`` int64 [N] indexes the examples; ``corner`` int64 [N, 2] is the shift down and right
    plus ``reach``; ``mirror`` bool [N]; ``zoom`` float32 [N, 3], or None, is how many times larger,
    and the shift down and right in parts of the sides; ``light`` float32 [N, 2], or None, is what
    is multiplied around the middle of the range, and added. What happens to recordings is drawn
    when it happens.
    """

    order: Tensor
    corner: Tensor
    mirror: Tensor
    reach: int
    speech: Speech | None  # of recordings
    zoom: Tensor | None = None
    light: Tensor | None = None

    def take(self, part: slice | Tensor) -> Draw:
        """The draw of the examples in ``part`` of the order, a slice or int64 [M]."""
        return self._each(lambda tensor: tensor[part])

    def to(self, device: torch.device) -> Draw:
        """The draw on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draw:
        return replace(
            self,
            order=change(self.order),
            corner=change(self.corner),
            mirror=change(self.mirror),
            zoom=None if self.zoom is None else change(self.zoom),
            light=None if self.light is None else change(self.light),
        )

    @property
    def moves(self) -> bool:
        """Whether any picture is moved or mirrored."""
        return self.zoom is not None or self.reach > 0 or bool(self.mirror.any())

    def apply(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, C] -> the same shape, moved with black edges, some mirrored, perhaps in
        another light; or int16 [N, samples] as `perturb` changes them."""
        if self.speech is not None:
            return perturb(images, self.speech)
        if self.zoom is not None:
            images = _zoomed(images, self.zoom)
        if self.light is not None:
            images = _lit(images, self.light)
        if self.reach == 0:
            mirror = self.mirror[:, None, None, None]
            return torch.where(mirror, images.flip(2), images) if self.mirror.any() else images
        count, height, width, _ = images.shape
        device = images.device
        rows = torch.arange(height, device=device) + self.corner[:, :1]  # [N, H] in the padded
        columns = torch.arange(width, device=device) + self.corner[:, 1:]  # [N, W]
        columns = torch.where(self.mirror[:, None], columns.flip(1), columns)
        padded = F.pad(images, (0, 0, *[self.reach] * 4))
        example = torch.arange(count, device=device)[:, None, None]
        return padded[example, rows[:, :, None], columns[:, None, :]]

    def affine(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where places of the pictures go: x, y -> factor * (x, y) + shift, float64 [N, 2] each.

        Places are counted as `pipeline.data.geometry` does.
        """
        sides = torch.tensor([width, height], dtype=torch.float64, device=self.order.device)
        factor = torch.ones(len(self.order), 2, dtype=torch.float64, device=self.order.device)
        shift = torch.zeros_like(factor)
        if self.zoom is not None:
            zoom = self.zoom.double()
            factor = factor * zoom[:, :1]
            shift = sides / 2 * (1 - factor) + zoom[:, 1:].flip(1) * sides
        shift = shift - (self.corner.flip(1) - self.reach)
        sign = torch.ones_like(factor)
        sign[:, 0] = 1 - 2 * self.mirror.double()
        back = torch.zeros_like(factor)
        back[:, 0] = self.mirror.double() * width
        return factor * sign, shift * sign + back

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
    how = AUGMENTATIONS["none" if augment in SPEECH else augment]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(examples, generator=generator)
    corner = torch.randint(0, 2 * how.reach + 1, (examples, 2), generator=generator)
    mirror = torch.rand(examples, generator=generator) < (0.5 if how.mirrors else 0.0)
    zoom = light = None
    if how.zoom:
        # As often larger as smaller by the same factor.
        larger = (1 + how.zoom) ** (2 * torch.rand(examples, 1, generator=generator) - 1)
        room = (larger - 1).abs() / 2
        apart = room * (2 * torch.rand(examples, 2, generator=generator) - 1)
        zoom = torch.cat([larger, apart], dim=1)
    if how.light:
        drawn = how.light * (2 * torch.rand(examples, 2, generator=generator) - 1)
        light = drawn + torch.tensor([1.0, 0.0])
    return Draw(order, corner, mirror, how.reach, SPEECH.get(augment), zoom, light)


def _zoomed(images: Tensor, zoom: Tensor) -> Tensor:
    """uint8 [N, H, W, C], each larger or smaller around its middle and moved; between pixels,
    black outside."""
    count, height, width, _ = images.shape
    larger, down, right = zoom.float().unbind(1)
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / larger
    theta[:, 0, 2], theta[:, 1, 2] = -2 * right / larger, -2 * down / larger
    grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False)
    planes = images.movedim(-1, 1).float()
    moved = F.grid_sample(planes, grid, mode="bilinear", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)


def _lit(images: Tensor, light: Tensor) -> Tensor:
    """uint8 [N, H, W, C] in another light and contrast."""
    contrast, added = (light[:, i, None, None, None] for i in (0, 1))
    lit = (images.float() - 127.5) * contrast + 127.5 + 255 * added
    return lit.round().clamp(0, 255).to(torch.uint8)


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
