"""What is asked of a network's outputs, while it is trained and judged: one module for each task.

Targets, settings and metrics are those of `device_runner.task`: host and device count alike.
"""

from __future__ import annotations

from edgeticket.device_runner.task import Metric
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.task import classes, nothing, transcripts
from edgeticket.pipeline.task.anomaly import ANOMALY
from edgeticket.pipeline.task.boxes import BOXES
from edgeticket.pipeline.task.embeddings import EMBEDDINGS
from edgeticket.pipeline.task.images import IMAGES
from edgeticket.pipeline.task.keypoints import KEYPOINTS
from edgeticket.pipeline.task.kind import Judge, Judged, Loss, Scores, Task
from edgeticket.pipeline.task.labels import LABELS
from edgeticket.pipeline.task.learnt import Learnt
from edgeticket.pipeline.task.masks import MASKS
from edgeticket.pipeline.task.numbers import NUMBERS, SERIES

__all__ = ["LEARNT", "Judge", "Judged", "Loss", "Metric", "Scores", "Task", "task_of"]


def task_of(split: Split) -> Task:
    """What there is to be learnt from examples."""
    if split.targets is not None:
        return LEARNT[split.targets.task.name].with_settings(split.targets.task)
    if split.spoken is not None:
        return transcripts.TASK
    return nothing.TASK if split.labels is None else classes.TASK


# By name, as `device_runner.task.TASKS`; classes, transcripts and nothing have other targets.
LEARNT: dict[str, Learnt] = {
    learnt.name: learnt
    for learnt in (
        LABELS,
        NUMBERS,
        KEYPOINTS,
        MASKS,
        BOXES,
        IMAGES,
        EMBEDDINGS,
        ANOMALY,
        SERIES,
    )
}
