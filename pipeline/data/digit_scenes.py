"""Digits on canvases, to be found (`digit_boxes`) or told apart pixel by pixel (`digit_masks`).

Both are made of the handwritten digits (`pipeline.data.digits`), each of which is in one picture
only.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.digits import load_digits
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.scenes import Scenes, draw_scenes
from edgeticket.pipeline.data.targets import Targets

BOXES_SIDE, MASKS_SIDE = 96, 48
_BOXES_SEED, _MASKS_SEED = 1501, 1502
_BOXES_HEIGHTS, _MASKS_HEIGHTS = (18, 42), (16, 32)

# Mean and standard deviation of the scenes' pixels, rounded; a picture is mostly background.
_PREPROCESSING = ({"op": "normalize", "mean": [35.0], "std": [40.0]},)

# What the network `digit_detector` gives: two maps, a cell for 8 by 8 pixels.
DETECTOR_TASK = {
    "input": [BOXES_SIDE, BOXES_SIDE],
    "layout": "first",
    "scores": {"outputs": [0], "count": 10},
    "boxes": {"outputs": [1], "count": 4},
    "decode": {"kind": "centres", "coding": "ltrb", "strides": [8]},
    "activation": "sigmoid",
}


def load_digit_boxes(folder: Path) -> Collection:
    """About 2,000 pictures uint8 [96, 96, 1] of none to four digits, with a box around each.

    Raises:
        InputError: as `load_digits`.
    """
    digits = load_digits(folder)
    assert digits.pool.labels is not None
    scenes = _scenes(BOXES_SIDE, _BOXES_HEIGHTS, _BOXES_SEED)
    arrays: dict[str, npt.NDArray[Any]] = {
        "sample": scenes.sample,
        "box": scenes.box,
        "label": digits.pool.labels[scenes.source],
    }
    targets = Targets(Task("boxes", DETECTOR_TASK), arrays, len(scenes.pictures))
    return _collection(scenes, targets, digits.labels)


def load_digit_masks(folder: Path) -> Collection:
    """About 2,000 pictures uint8 [48, 48, 1] with a class for each pixel: 0 is background, and
    1 + d where the digit d was drawn.

    Raises:
        InputError: as `load_digits`.
    """
    digits = load_digits(folder)
    assert digits.pool.labels is not None
    scenes = _scenes(MASKS_SIDE, _MASKS_HEIGHTS, _MASKS_SEED)
    classes = np.concatenate([[0], digits.pool.labels[scenes.source] + 1]).astype(np.uint8)
    arrays = {"mask": classes[scenes.owner]}
    targets = Targets(Task("masks", {}), arrays, len(scenes.pictures))
    return _collection(scenes, targets, ("background", *digits.labels))


def _collection(scenes: Scenes, targets: Targets, names: tuple[str, ...]) -> Collection:
    pool = Split(scenes.pictures[..., np.newaxis], None, targets=targets)
    return Collection(pool, None, names, _PREPROCESSING)


@functools.cache  # drawing takes seconds
def _scenes(side: int, heights: tuple[int, int], seed: int) -> Scenes:
    digits = load_digits(Path()).pool.inputs
    assert isinstance(digits, np.ndarray)
    return draw_scenes(digits[:, :, :, 0].astype(np.uint8), side=side, heights=heights, seed=seed)
