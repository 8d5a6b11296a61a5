"""Boxes on pictures that became inputs: what brings them back to pixels of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.geometry import picture_of
from edgeticket.pipeline.data.targets import Targets

BOXES = "boxes"


def place_task(task: Task | None, steps: Sequence[Mapping[str, Any]]) -> Task | None:
    """Say `picture` of boxes behind a letterbox, where the settings do not: targets are in pixels
    of the pictures themselves then, as those of recipes are.

    Raises:
        InputError: the settings say another `input` than the letterbox, or another `picture`.
    """
    boxed = [step for step in steps if step["op"] == "letterbox"]
    if task is None or task.name != BOXES or not boxed:
        return task
    size, picture = list(boxed[0]["size"]), picture_of(steps)
    settings = dict(task.settings)
    if list(settings.get("input", size)) != size:
        raise InputError(
            f"--task-settings: input is {list(settings['input'])} (height, width), and --letterbox "
            f"makes {size}: make them alike"
        )
    if settings.setdefault("picture", picture) not in ("input", picture):
        raise InputError(
            f"--task-settings: picture is {settings['picture']}, and --letterbox makes it "
            f"{picture}: leave it out"
        )
    return Task(task.name, settings)


def place_targets(asked: Any, sizes: npt.NDArray[np.int64] | None) -> Any:
    """Say `size` of right boxes in pixels of pictures: height and width of each, [N, 2].

    Raises:
        InputError: the targets say another size of a picture.
    """
    if not isinstance(asked, Targets) or asked.task.name != BOXES or sizes is None:
        return asked
    if not asked.arrays or asked.task.settings.get("picture", "input") == "input":
        return asked
    size = asked.arrays.get("size")
    if size is None:
        return replace(asked, arrays={**asked.arrays, "size": sizes})
    if np.shape(size) == sizes.shape and not np.array_equal(size, sizes):
        i = int(np.flatnonzero((size != sizes).any(axis=1))[0])
        raise InputError(
            f"--targets: size of sample {i} is {size[i].tolist()} (height, width), its picture has "
            f"{sizes[i].tolist()}: leave size out"
        )
    return asked
