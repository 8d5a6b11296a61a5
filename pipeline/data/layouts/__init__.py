"""How data of tasks lie on disk: one module for each layout, by its key in `data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.examples import Collection, Split
from edgeticket.pipeline.data.layouts.coco import read_coco
from edgeticket.pipeline.data.layouts.masks import read_masks
from edgeticket.pipeline.data.layouts.pairs import read_pairs
from edgeticket.pipeline.data.layouts.part import CLASSES, Reading, Source, Steps
from edgeticket.pipeline.data.layouts.recordings import read_recordings
from edgeticket.pipeline.data.layouts.series import read_series
from edgeticket.pipeline.data.layouts.table import read_listed
from edgeticket.pipeline.data.layouts.yolo import read_yolo
from edgeticket.pipeline.data.named import check_targets
from edgeticket.pipeline.data.rebuilt import with_rebuilt
from edgeticket.pipeline.data.scaling import capture_steps
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.store import Store

MaybeSplit = TypeVar("MaybeSplit", Split, Split | None)


def read_layout(
    cfg: DataConfig,
    task: Task | None,
    *,
    folders: Sequence[Path],
    store: Store,
    progress: Progress,
) -> Collection:
    """What ``cfg`` names in one of `LAYOUTS`, with what is right for ``task``.

    Args:
        cfg: names one of them.
        task: of the recipe, with all settings; None: it says nothing, so there are classes.
        folders: where relative paths are looked up, in order.
        store: keeps decoded pictures.
        progress: shows how far decoding is.

    Raises:
        InputError: a file is missing or something else, or the layout is not for this task.
    """
    key = cfg.layout
    assert key is not None
    asked = task or Task(CLASSES)
    read, only = LAYOUTS[key]
    if only is not None and asked.name != only:
        told = f"task is {asked.name}" if task is not None else "the recipe has no task"
        way = "leave task out" if only == CLASSES else f"say task: {only}"
        raise InputError(f"data.{key} is for the task {only}, and {told}: {way}")
    steps = capture_steps(cfg)
    reading = read(Source(cfg, asked, folders, steps, store, progress))
    collection = reading.collection(asked)
    if asked.name == CLASSES:
        return collection
    place, steps = f"data.{key}", collection.preprocessing
    return replace(
        collection,
        pool=_checked(collection.pool, steps, place=place, is_pool=True),
        validation=_checked(collection.validation, steps, place=f"{place}, validation"),
        test=_checked(collection.test, steps, place=f"{place}, test"),
    )


def _checked(split: MaybeSplit, steps: Steps, *, place: str, is_pool: bool = False) -> MaybeSplit:
    """The same with what the task can be told by the inputs, looked at as devices will.

    Raises:
        InputError: targets that cannot be right.
    """
    if split is None:
        return split
    whole = with_rebuilt(split, steps)
    assert whole.targets is not None
    check_targets(whole.targets, place=place, is_pool=is_pool)
    return whole


LAYOUTS: Mapping[str, tuple[Callable[[Source], Reading], str | None]] = {
    "coco": (read_coco, "boxes"),
    "yolo": (read_yolo, "boxes"),
    "masks": (read_masks, "masks"),
    "table": (read_listed, None),
    "series": (read_series, None),
    "recordings": (read_recordings, CLASSES),
    "pairs": (read_pairs, "images"),
}
