"""What is right for examples of any task, as named arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.manifest import Task

Array = npt.NDArray[Any]

PAIRS = "pairs"  # [pairs, 3]: two examples, and whether they are of the same
MOST_IN_ONE = 5000  # boxes of one picture: more are a fault of whatever wrote them
ROWS_OF = "sample"  # arrays beside one of this name have a row for each thing, not for each example


@dataclass(frozen=True, eq=False)
class Targets:
    """What is right for ``count`` examples, as `device_runner.task` reads it.

    Arrays are [count, ...], as in an .npz file. Where an example has any number of things, such as
    boxes, the array `sample` says whose each row of the others is; arrays that have a row for each
    example all the same are in ``per_example``.
    """

    task: Task
    arrays: Mapping[str, Array]
    count: int
    per_example: frozenset[str] = frozenset({"size"})
    swap: tuple[tuple[int, int], ...] = ()  # points that change places in a mirror

    def __len__(self) -> int:
        return self.count

    def take(self, indices: npt.NDArray[np.int64]) -> Targets:
        """Those of the examples at ``indices``, in that order; rows keep theirs within each."""
        if PAIRS in self.arrays:
            return self._with_pairs(indices)
        if ROWS_OF not in self.arrays:
            taken = {name: array[indices] for name, array in self.arrays.items()}
            return replace(self, arrays=taken, count=len(indices))
        by_owner, first = self._rows
        runs = [by_owner[first[i] : first[i + 1]] for i in indices.tolist()]
        rows = np.concatenate([np.zeros(0, np.int64), *runs])
        taken = {
            name: array[indices if name in self.per_example else rows]
            for name, array in self.arrays.items()
        }
        sizes = [len(run) for run in runs]
        taken[ROWS_OF] = np.repeat(np.arange(len(indices), dtype=np.int64), sizes)
        return replace(self, arrays=taken, count=len(indices))

    @cached_property
    def _rows(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All rows, example by example, and where those of each example begin."""
        owner = self.arrays[ROWS_OF]
        by_owner = np.argsort(owner, kind="stable")
        return by_owner, np.searchsorted(owner[by_owner], np.arange(self.count + 1))

    def _with_pairs(self, indices: npt.NDArray[np.int64]) -> Targets:
        """Pairs of which both examples are taken, by their new places."""
        places = np.full(self.count, -1, dtype=np.int64)
        places[indices] = np.arange(len(indices))
        pairs = np.asarray(self.arrays[PAIRS], dtype=np.int64)
        moved = np.concatenate([places[pairs[:, :2]], pairs[:, 2:]], axis=1)
        taken = {n: array[indices] for n, array in self.arrays.items() if n != PAIRS}
        taken[PAIRS] = moved[(moved[:, :2] >= 0).all(axis=1)]
        return replace(self, arrays=taken, count=len(indices))

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the task, its settings and all arrays."""
        described = [self.task.name, dict(self.task.settings), self.count]
        if self.swap:
            described.append(self.swap)
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
