"""What a layout gives: inputs, and named arrays of what is right for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.manifest import Task
from edgeticket.pipeline.data.decoded import Decoded, decode_sized
from edgeticket.pipeline.data.examples import Collection, Inputs, Split
from edgeticket.pipeline.data.folder import Listing
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import DataConfig
from edgeticket.pipeline.store import Store

Array = npt.NDArray[Any]
Steps = tuple[Mapping[str, Any], ...]

CLASSES = "classes"  # the task whose targets are `Split.labels`


@dataclass(frozen=True)
class Source:
    """What every layout is read with.

    Args:
        cfg: names one layout.
        task: what is asked; all of its settings are there.
        folders: where relative paths are looked up, in order.
        steps: of `device_runner.preprocess.capture`, that pictures go through.
        store: keeps decoded pictures.
        progress: shows how far decoding is, and tells what was passed over.
    """

    cfg: DataConfig
    task: Task
    folders: Sequence[Path]
    steps: Steps
    store: Store
    progress: Progress

    def decode(self, root: Path, names: Sequence[str], *, steps: Steps | None = None) -> Decoded:
        """Pictures below ``root``, behind ``steps`` (by default those of the recipe).

        Raises:
            InputError: pictures that cannot be decoded, or become different sizes.
        """
        listing = Listing(root, tuple(names), np.zeros(len(names), np.int64))
        changes = self.steps if steps is None else steps
        return decode_sized(listing, changes, store=self.store, progress=self.progress)


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set: the pool, or an official validation or test set.

    ``arrays`` are the targets by name, as docs/tasks.md has them; for classes `label` alone.
    """

    inputs: Inputs
    arrays: Mapping[str, Array]
    swap: tuple[tuple[int, int], ...] = ()  # points that change places in a mirror

    def split(self, task: Task) -> Split:
        """As a split holds them."""
        if task.name == CLASSES:
            return Split(self.inputs, self.arrays["label"].astype(np.int64))
        targets = Targets(task, dict(self.arrays), len(self.inputs), swap=self.swap)
        return Split(self.inputs, None, targets=targets)


@dataclass(frozen=True, eq=False)
class Reading:
    """A data set in a layout, read.

    ``settings`` are those of the task that the data decide.
    """

    pool: Part
    validation: Part | None
    test: Part | None
    labels: tuple[str, ...]  # names of classes
    preprocessing: Steps
    capture: Steps = ()
    settings: Mapping[str, Any] | None = None

    def collection(self, task: Task) -> Collection:
        """The same with the targets of ``task``."""
        whole = Task(task.name, {**task.settings, **(self.settings or {})})
        others = [
            None if part is None else part.split(whole) for part in (self.validation, self.test)
        ]
        return Collection(
            self.pool.split(whole),
            others[1],
            self.labels,
            self.preprocessing,
            others[0],
            self.capture,
        )
