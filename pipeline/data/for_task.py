"""Named data sets with targets, as a recipe's task has them."""

from __future__ import annotations

from dataclasses import replace

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.named import check_targets


def for_task(collection: Collection, task: Task | None, *, title: str) -> Collection:
    """A named data set with the settings that a recipe's task has; None: with its own.

    Raises:
        InputError: its targets are for another task, or are none, or do not fit the settings.
    """
    if task is None:
        return collection
    targets = collection.pool.targets
    if targets is None or targets.task.name != task.name:
        what = f"is for task {targets.task.name}" if targets else "has none but classes or texts"
        raise InputError(
            f"task: {title} {what}, not for {task.name}: leave task out, or name other data"
        )

    def judged(split: Split | None) -> Split | None:
        if split is None or split.targets is None:
            return split
        changed = replace(split.targets, task=task)
        check_targets(changed, place=f"data: {title}")
        return replace(split, targets=changed)

    pool = judged(collection.pool)
    assert pool is not None
    return replace(
        collection,
        pool=pool,
        validation=judged(collection.validation),
        calibration=judged(collection.calibration),
        test=judged(collection.test),
    )
