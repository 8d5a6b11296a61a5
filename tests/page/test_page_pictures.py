"""Pictures of samples, and how large a page can become."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from page_fixtures import Page, write_run
from PIL import Image

from edgeticket.pipeline.page.pictures import LIMIT_BYTES, LONGEST_SIDE, curve_of, one_look
from edgeticket.pipeline.page.render import render
from edgeticket.pipeline.page.sections.answers import CHANGED
from edgeticket.pipeline.page.sources import gather

PAGE_LIMIT_BYTES = 3_000_000


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_small_picture_keeps_its_pixels(channels: int) -> None:
    sample = np.random.default_rng(0).integers(0, 256, (9, 12, channels)).astype(np.uint8)
    look = one_look(sample, 5)
    assert look is not None
    assert look.uri is not None
    assert look.uri.startswith("data:image/png;base64,")
    shown = np.asarray(opened(look.uri)).reshape(9, 12, -1)
    assert np.array_equal(shown, sample[..., :3])
    assert (look.width, look.height) == (96, 72)
    assert look.is_small


def test_a_large_picture_of_noise_is_small_in_bytes() -> None:
    sample = np.random.default_rng(0).integers(0, 256, (300, 200, 3)).astype(np.uint8)
    look = one_look(sample, 0)
    assert look is not None
    assert look.uri is not None
    assert max(opened(look.uri).size) == LONGEST_SIDE
    assert len(look.uri) <= 4 * LIMIT_BYTES / 3 + 100


def test_real_numbers_are_stretched() -> None:
    sample = np.linspace(-3, 5, 16, dtype=np.float32).reshape(4, 4, 1)
    look = one_look(sample, 0)
    assert look is not None
    assert look.uri is not None
    shown = np.asarray(opened(look.uri))
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.array_equal(np.argsort(shown.ravel(), kind="stable"), np.arange(16))


def test_what_is_no_picture_is_a_curve_or_nothing() -> None:
    wave = np.sin(np.arange(4000) / 50).astype(np.float32)
    look = curve_of(wave, 3)
    assert look.path is not None
    numbers = look.path.replace("M", " ").replace("L", " ").split()
    heights = [float(number) for number in numbers[1::2]]
    assert (min(heights), max(heights)) == (1.0, look.height - 1)
    assert "4,000 values" in look.words
    for shape in ((50,), (50, 3)):
        found = one_look(np.zeros(shape, np.float32), 0)
        assert found is not None
        assert found.path is not None
    for shape in ((1,), (5, 5, 7), (2, 2, 2, 2), ()):
        assert one_look(np.zeros(shape, np.float32), 0) is None


def test_ten_thousand_samples_that_all_changed_stay_below_three_megabytes(tmp_path: Path) -> None:
    """The pictures are noise of the largest size that is shown as it is."""
    count = 10_000
    folder = write_run(
        tmp_path / "run",
        count=count,
        inputs=np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3)).astype(np.uint8),
        wrong=range(count),
        queries=20_000,
    )
    data = render(gather([folder]))
    page = Page(data)
    assert len(page.all("img")) == CHANGED
    assert "10,000 of 10,000 samples" in page.text
    pictures = sum(len(e.attributes["src"]) for e in page.all("img"))
    largest = CHANGED * (4 * LIMIT_BYTES / 3 + 100)
    assert len(data) - pictures + largest <= PAGE_LIMIT_BYTES
