"""PNG files of every filter: the bytes that Pillow reads."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.png import BAND, EASY, parse_png


def png(width: int, channels: int, kinds: list[int], seed: int = 0) -> bytes:
    """A file whose lines have these filters, and noise behind them."""
    rng = np.random.default_rng(seed)
    lines = b"".join(bytes([kind]) + rng.bytes(width * channels) for kind in kinds)
    colour = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, len(kinds), 8, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def assert_as_pillow(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    found = parse_png(data, place="p.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected.reshape(found.shape))


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_mixture_of_filters(width: int, channels: int, kinds: list[int], seed: int) -> None:
    assert_as_pillow(png(width, channels, kinds, seed))


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_alone(kind: int, channels: int) -> None:
    assert_as_pillow(png(70, channels, [kind] * 50))


def test_bands_meet_without_a_seam() -> None:
    assert_as_pillow(png(3, 3, [4] * (BAND + 5) + [0] * EASY * 2 + [3, 1, 4] + [2] * 7 + [3] * 9))


def test_pillows_own_choice_of_filters() -> None:
    y, x = np.mgrid[:300, :200]
    smooth = np.stack([x, y, x + y], -1) + np.random.default_rng(0).integers(0, 9, (300, 200, 3))
    file = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint8)).save(file, "png")
    assert_as_pillow(file.getvalue())


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(InputError, match=r"p\.png is damaged: line 2 has filter 5"):
        parse_png(png(4, 1, [0, 4, 5, 1]), place="p.png")
