"""Picture files to pixels: upright, 8 bits, three channels."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.regular import read_regular

# As torchvision's ImageFolder.
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"))
MOST_PIXELS = 100_000_000
MOST_BYTES = 2**30

# What Pillow raises for files that are no whole pictures.
DAMAGE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,  # a broken PNG
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    MemoryError,
    AttributeError,
    OverflowError,
    RuntimeError,  # of libraries for single formats; recursion and what is not implemented, too
    struct.error,
    zlib.error,
)


def decode(path: Path) -> npt.NDArray[np.uint8]:
    """A picture file -> uint8 [H, W, 3].

    Turned as its EXIF says; grey, palette and CMYK become RGB, transparency is dropped, and 16 bits
    become the nearest of 8. Of an animation the first picture is taken.

    Raises:
        InputError: the file cannot be read, is damaged, or holds numbers that are no colours.
    """
    data = read_regular(path, limit_bytes=MOST_BYTES)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{path} has {image.width}x{image.height} pixels, more than "
                    f"{MOST_PIXELS:,}: make it smaller"
                )
            return _colours(ImageOps.exif_transpose(image), path)
    except DAMAGE as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: BaseException) -> InputError:
    """What to say of a picture that a decoder gave up."""
    shown = re.sub(r"<_io\.BytesIO object at 0x[0-9a-f]+>", "it", str(error))
    reason = " ".join(plain(shown).split())[:200] or type(error).__name__
    return InputError(f"{path} is no whole picture ({reason}): remove it, or save it")


def _colours(image: Image.Image, path: Path) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits in 16, or in 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise InputError(f"{path} has more than 16 bits a pixel: save it with 8")
        grey = ((values * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.mode == "F":
        raise InputError(f"{path} holds real numbers, no colours: save it with 8 bits a pixel")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # the palette may hold transparency
    pixels: Any = np.array(image.convert("RGB"))
    return np.asarray(pixels, dtype=np.uint8)
