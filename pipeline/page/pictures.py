"""Samples as a reader may look at them: pictures, or curves of what is no picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.recordings import parse_recordings

Array = npt.NDArray[Any]

LONGEST_SIDE = 96  # pixels
LIMIT_BYTES = 24_000  # of one picture; a larger one becomes a JPEG
CURVE_POINTS = 120
CURVE_WIDTH, CURVE_HEIGHT = 160, 40


@dataclass(frozen=True)
class Look:
    """A picture as a data URI, or a curve as a path of SVG; ``words``: for who cannot see it."""

    uri: str | None
    path: str | None
    width: int
    height: int
    words: str
    is_small: bool = False  # its pixels are to be seen as such


def look_at(
    bundle: Path | None, manifest: Manifest | None, indices: Sequence[int]
) -> Mapping[int, Look]:
    """Samples of a bundle by number. A bundle that cannot be read, or samples that are neither
    pictures nor curves, give none: they are an ornament, and what they show stands beside them."""
    if bundle is None or manifest is None or not indices:
        return {}
    try:
        with open_bundle(bundle) as opened:
            return _looks(opened, manifest, indices)
    except InputError:
        return {}


def _looks(bundle: Bundle, manifest: Manifest, indices: Sequence[int]) -> dict[int, Look]:
    if manifest.chunks is not None:
        assert manifest.samples.targets is not None  # transcripts have them
        waves, lengths, _ = parse_recordings(
            bundle.read(manifest.inputs[0].samples),
            bundle.read(manifest.samples.targets),
            places=("samples", "targets"),
        )
        ends = np.cumsum(lengths)
        return {
            i: curve_of(waves[ends[i] - lengths[i] : ends[i]], i)
            for i in indices
            if i < len(lengths)
        }
    for inputs in bundle.inputs():
        found = {i: one_look(inputs[i], i) for i in indices if i < len(inputs)}
        if any(found.values()):
            return {i: look for i, look in found.items() if look is not None}
    return {}


def one_look(sample: Array, index: int) -> Look | None:
    """A sample as stored: [height, width, 1, 3 or 4] is a picture, [time(, channels)] a curve."""
    if sample.ndim == 3 and sample.shape[-1] in (1, 3, 4) and min(sample.shape[:2]) > 1:
        return picture_of(sample, index)
    if sample.ndim == 1 and len(sample) > 1:
        return curve_of(sample, index)
    if sample.ndim == 2 and min(sample.shape) > 0 and len(sample) > 1:
        return curve_of(sample.astype(np.float64).mean(axis=1), index)
    return None


def picture_of(sample: Array, index: int) -> Look:
    """[height, width, channels] -> a small PNG, or a JPEG where that would be large."""
    pixels = stretched(sample)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    height, width = sample.shape[:2]
    is_small = max(width, height) <= LONGEST_SIDE
    if not is_small:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    kind, data = "png", _encoded(image, "PNG", optimize=True)
    if len(data) > LIMIT_BYTES:
        kind, data = "jpeg", _encoded(image, "JPEG", quality=80)
    enlarged = max(1, LONGEST_SIDE // max(image.width, image.height)) if is_small else 1
    return Look(
        uri=f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        path=None,
        width=image.width * enlarged,
        height=image.height * enlarged,
        words=f"sample {index}, {width} × {height} pixels",
        is_small=is_small,
    )


def stretched(pixels: Array) -> Array:
    """A picture as uint8: other numbers are stretched from the lowest to the highest."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    scaled = (pixels.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(255 * scaled).astype(np.uint8)


def curve_of(values: Array, index: int) -> Look:
    """A curve through the lowest and highest values of as many pieces as it has points."""
    numbers = values.astype(np.float64)
    pieces = np.array_split(numbers, min(CURVE_POINTS, len(numbers)))
    low, high = float(numbers.min()), float(numbers.max())
    span = max(high - low, 1e-12)
    across = CURVE_WIDTH / max(len(pieces) - 1, 1)
    points = []
    for i, piece in enumerate(pieces):
        for value in dict.fromkeys((float(piece.min()), float(piece.max()))):
            y = CURVE_HEIGHT - 1 - (CURVE_HEIGHT - 2) * (value - low) / span
            points.append(f"{i * across:.1f} {y:.1f}")
    return Look(
        uri=None,
        path=f"M{'L'.join(points)}",
        width=CURVE_WIDTH,
        height=CURVE_HEIGHT,
        words=f"sample {index}, {len(numbers):,} values from {low:.3g} to {high:.3g}",
    )


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.convert("RGB" if kind == "JPEG" else image.mode).save(file, kind, **options)
    return file.getvalue()
