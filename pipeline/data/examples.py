"""Labelled images and recordings as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from device_runner.preprocess import preprocess
from models.network import Network
from pipeline.data.rows import Rows

Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.int16] | Rows
"""Images uint8 [N, H, W, C], or 16-bit recordings [N, samples], in memory or on disk."""

DIGESTED = 1024  # rows that are read at a time


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network that answers examples, for another one to learn from."""

    network: Network
    preprocessing: tuple[Mapping[str, Any], ...]  # what its inputs go through

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all that its answers depend on."""
        steps = [dict(step) for step in self.preprocessing]
        described = json.dumps([self.network.digest, steps], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Examples that belong together: inputs and class indices int64 [N].

    What there is to be learnt from them may come from a teacher besides the labels.
    """

    inputs: Inputs
    labels: npt.NDArray[np.int64]
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        assert (self.inputs.dtype.name, self.inputs.ndim) in (("uint8", 4), ("int16", 2))
        assert self.labels.dtype == np.int64
        assert self.labels.shape == self.inputs.shape[:1]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """The examples at ``indices``, in that order."""
        inputs = self.inputs
        taken = inputs.take(indices) if isinstance(inputs, Rows) else inputs[indices]
        return Split(taken, self.labels[indices], self.teacher)


@dataclass(frozen=True, eq=False)
class Collection:
    """A data set as it was published: one pool, perhaps an official test set."""

    pool: Split
    test: Split | None
    labels: tuple[str, ...]  # the name of each class
    preprocessing: tuple[Mapping[str, Any], ...]  # steps of device_runner.preprocess
    validation: Split | None = None  # None: from the pool
    capture: tuple[Mapping[str, Any], ...] = ()  # what made the inputs of decoded pictures


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set split for one recipe; each example is in exactly one split.

    Weights are trained on ``train``, choices are made on ``validation``, int8 ranges are fixed
    on ``calibration``; ``test`` is read once, at the end.
    """

    name: str
    train: Split
    validation: Split
    calibration: Split
    test: Split
    labels: tuple[str, ...]
    preprocessing: tuple[Mapping[str, Any], ...]
    capture: tuple[Mapping[str, Any], ...] = ()  # what made the inputs of decoded pictures

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one input as networks take it, or (channels, length)."""
        _, *space, channels = preprocess(self.test.inputs[:1], self.preprocessing).shape
        return channels, *space

    def taught_by(self, teacher: Teacher) -> Dataset:
        """The same, with a teacher for the examples that are trained on."""
        return replace(self, train=replace(self.train, teacher=teacher))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that a run can see of the data."""
        described = [self.name, self.labels, [dict(step) for step in self.preprocessing]]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for split in (self.train, self.validation, self.calibration, self.test):
            digest.update(str(split.inputs.shape).encode())
            for start in range(0, len(split), DIGESTED):
                digest.update(np.ascontiguousarray(split.inputs[start : start + DIGESTED]).data)
            digest.update(np.ascontiguousarray(split.labels).data)
            if split.teacher is not None:
                digest.update(split.teacher.digest.encode())
        return digest.hexdigest()
