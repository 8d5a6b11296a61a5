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
LEFT, ABOVE, MEAN = 1, 2, 3  # filters; 0 is none, 4 Paeth's choice
EASY = 64  # so many lines without hard ones between them are worth an end
BAND = 1024  # lines that are undone at once: what skewed arrays take is bounded
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
    """Undo what each line's first byte names: none, left, above, mean of both, Paeth's choice.

    Lines -> uint8 [height, width x channels]. Lines that need no neighbour, or one alone, are sums
    along an axis; others, and those between them, are undone along their diagonals.
    """
    kinds, rows = lines[:, 0], lines[:, 1:]
    if kinds.max(initial=0) > 4:
        y = int(np.argmax(kinds > 4))
        raise InputError(f"{place} is damaged: line {y} has filter {kinds[y]}")
    out = np.empty_like(rows)
    above = np.zeros(rows.shape[1], np.uint8)
    y = 0
    while y < len(rows):
        end = y + 1
        if kinds[y] >= MEAN:
            end = _end_of_band(kinds, y)
            out[y:end] = _along_diagonals(rows[y:end], kinds[y:end], above, channels)
        elif kinds[y] == LEFT:
            pixels = rows[y].reshape(-1, channels)
            out[y] = np.add.accumulate(pixels, axis=0, dtype=np.uint8).reshape(-1)
        else:
            out[y] = rows[y] + above if kinds[y] == ABOVE else rows[y]
        above = out[end - 1]
        y = end
    return out


def _end_of_band(kinds: npt.NDArray[np.uint8], start: int) -> int:
    """Behind the last line that is undone with line ``start``: until many easy ones follow."""
    hard = start + np.flatnonzero(kinds[start : start + BAND] >= MEAN)
    gaps = np.flatnonzero(np.diff(hard) > EASY)
    return int(hard[gaps[0] if len(gaps) else -1]) + 1


def _along_diagonals(
    rows: npt.NDArray[np.uint8],
    kinds: npt.NDArray[np.uint8],
    above: npt.NDArray[np.uint8],
    channels: int,
) -> npt.NDArray[np.uint8]:
    """Undo lines of any filter.

    A pixel needs those at its left, above it, and at the left of that one. The pixels of which
    column and line add up to the same number need none of one another, so all of them are undone at
    once. In skewed arrays, whose row d holds those of diagonal d, neighbours are slices.
    """
    height, width = len(rows), rows.shape[1] // channels
    diagonals = width + height
    # One line above the band, which is undone already; what lies left of the picture is 0.
    skewed = np.zeros((diagonals + 1, height + 1, channels), np.int16)
    given = np.zeros((diagonals, height, channels), np.int16)
    skewed[1 : width + 1, 0] = above.reshape(width, channels)
    for y in range(height):
        given[y : y + width, y] = rows[y].reshape(width, channels)
    is_choice, is_mean = (kinds > MEAN)[:, None], (kinds == MEAN)[:, None]
    has_choices, has_means, has_easy = is_choice.any(), is_mean.any(), (kinds < MEAN).any()
    of_left, of_up = ((kinds == kind)[:, None].astype(np.int16) for kind in (LEFT, ABOVE))
    for d in range(1, diagonals):
        # Line y of the band has its pixel x = d - 1 - y on diagonal d of ``skewed``, as line y + 1.
        first, last = max(0, d - width), min(height, d)
        left = skewed[d, first + 1 : last + 1]
        up = skewed[d, first:last]
        guess = (left + up) >> 1 if has_means else left
        if has_easy:
            one = left * of_left[first:last] + up * of_up[first:last]
            guess = np.where(is_mean[first:last], guess, one)
        if has_choices:
            chosen = _choose(left, up, skewed[d - 1, first:last])
            guess = np.where(is_choice[first:last], chosen, guess)
        skewed[d + 1, first + 1 : last + 1] = (given[d - 1, first:last] + guess) & 255
    out = np.empty((height, width, channels), np.uint8)
    for y in range(height):
        out[y] = skewed[y + 2 : y + 2 + width, y + 1]
    return out.reshape(height, -1)


def _choose(
    left: npt.NDArray[np.int16], up: npt.NDArray[np.int16], corner: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Paeth: which of three neighbours is nearest to left + up - corner; the first of equals."""
    from_left, from_up = up - corner, left - corner
    by_left, by_up, by_corner = np.abs(from_left), np.abs(from_up), np.abs(from_left + from_up)
    of_two = np.where(by_up <= by_corner, up, corner)
    is_left = (by_left <= by_up) & (by_left <= by_corner)
    chosen: npt.NDArray[np.int16] = np.where(is_left, left, of_two)
    return chosen
