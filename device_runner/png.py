"""8-bit grey and RGB PNG files, as most tools write them (W3C PNG specification, ISO 15948).

Enough for pictures that were made for a network; with zlib and numpy alone, as boards have them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}  # colour types: grey, RGB
LIMIT_PIXELS = 2**26
LIMIT_SIDE = 2**16


def parse_png(data: bytes, *, place: str) -> npt.NDArray[np.uint8]:
    """Bytes of a .png file -> uint8 [height, width, 1 or 3].

    Raises:
        InputError: damaged, or with a palette, alpha, 16 bits or interlacing.
    """
    if not data.startswith(SIGNATURE):
        raise InputError(f"{place} is not a PNG file")
    packed: list[bytes] = []
    header = None
    for kind, content in _chunks(data, place):
        if kind == b"IHDR" and len(content) == 13:
            header = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            packed.append(content)
    if header is None:
        raise InputError(f"{place} is damaged: it has no header")
    width, height, bits, colour, _, _, interlaced = header
    if bits != 8 or colour not in CHANNELS or interlaced:
        raise InputError(
            f"{place} is a PNG of {bits} bits, colour type {colour}: save it as 8-bit grey or RGB "
            "without alpha, palette or interlacing"
        )
    if not 0 < width * height <= LIMIT_PIXELS or max(width, height) > LIMIT_SIDE:
        raise InputError(f"{place} is {width} by {height}: no network takes that")
    channels = CHANNELS[colour]
    size = height * (1 + width * channels)
    try:
        rows = zlib.decompressobj().decompress(b"".join(packed), size)
    except zlib.error as error:
        raise InputError(f"{place} is damaged: {error}") from None
    if len(rows) != size:
        raise InputError(f"{place} is damaged: it ends too early")
    lines = np.frombuffer(rows, np.uint8).reshape(height, 1 + width * channels)
    return _unfilter(lines, channels, place).reshape(height, width, channels)


def _chunks(data: bytes, place: str) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content, end = data[at + 8 : at + 8 + size], at + 12 + size
        if (
            end > len(data)
            or zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]
        ):
            raise InputError(f"{place} is damaged near byte {at}")
        if kind == b"IEND":
            return
        yield kind, content
        at = end
    raise InputError(f"{place} is damaged: it ends too early")


def _unfilter(lines: npt.NDArray[np.uint8], channels: int, place: str) -> npt.NDArray[np.uint8]:
    """Undo what each line's first byte names: none, left, above, mean of both, Paeth's choice."""
    height, width = len(lines), lines.shape[1] - 1
    out = np.zeros((height + 1, width + channels), np.int32)  # a line above, a pixel to the left
    for y in range(height):
        kind, line = lines[y, 0], lines[y, 1:].astype(np.int32)
        row, above = out[y + 1], out[y]
        if kind in (0, 2):
            row[channels:] = (line + (above[channels:] if kind == 2 else 0)) & 255
            continue
        if kind > 4:
            raise InputError(f"{place} is damaged: line {y} has filter {kind}")
        for x in range(width):
            left, up, corner = int(row[x]), int(above[x + channels]), int(above[x])
            guess = (left, (left + up) // 2, _paeth(left, up, corner))[(1, 3, 4).index(kind)]
            row[x + channels] = (line[x] + guess) & 255
    return out[1:, channels:].astype(np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    distances = abs(guess - left), abs(guess - up), abs(guess - corner)
    return (left, up, corner)[distances.index(min(distances))]
