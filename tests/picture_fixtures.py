"""Small pictures that a network can tell apart: noise around one colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = {"red": (190, 60, 60), "green": (60, 190, 60), "blue": (60, 60, 190)}


def colours(width: int, height: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3], noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def write_pictures(folder: Path, *, per_class: int, seed: int = 0, side: int = 24) -> None:
    """``folder / CLASS / N.png``: of different sizes, the shorter side ``side`` or more."""
    rng = np.random.default_rng(seed)
    for name, colour in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            height, width = rng.integers(side, 2 * side, 2)
            noise = rng.normal(colour, 60, (height, width, 3))
            pixels = np.clip(noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
