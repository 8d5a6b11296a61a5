"""Tasks: what is asked of a network's outputs, and what a device computes of them in numpy.

Transcripts are not here yet: `device_runner.transcripts` has them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.task import (
    anomaly,
    boxes,
    classes,
    embeddings,
    images,
    keypoints,
    labels,
    masks,
    nothing,
    numbers,
    series,
)
from edgeticket.device_runner.task.kind import Metric, Outputs, Tally, Targets, Task
from edgeticket.device_runner.task.settings import Settings

__all__ = [
    "TASKS",
    "Metric",
    "Outputs",
    "Settings",
    "Tally",
    "Targets",
    "Task",
    "get_task",
    "read_settings",
]


def get_task(name: str, *, place: str = "task") -> Task:
    """
    Raises:
        InputError: there is no such task; names the near ones.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"{place}: there is no task {name!r}; {hint}known: {', '.join(TASKS)}")
    return TASKS[name]


def read_settings(name: str, document: Mapping[str, Any], *, place: str) -> tuple[Task, Settings]:
    """A task by name, and its settings as JSON -> both as they are used.

    Raises:
        InputError: there is no such task, or a setting that it does not allow.
    """
    task = get_task(name, place=place)
    return task, task.settings.from_json(dict(document), place=f"{place} {name}")


TASKS: dict[str, Task] = {
    "classes": classes.TASK,
    "labels": labels.TASK,
    "numbers": numbers.TASK,
    "keypoints": keypoints.TASK,
    "masks": masks.TASK,
    "boxes": boxes.TASK,
    "images": images.TASK,
    "embeddings": embeddings.TASK,
    "anomaly": anomaly.TASK,
    "series": series.TASK,
    "nothing": nothing.TASK,
}
