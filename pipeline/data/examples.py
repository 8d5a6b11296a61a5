"""Labelled images and recordings as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.chunks import Chunks, cut, plan_pieces
from edgeticket.device_runner.preprocess import preprocess
from edgeticket.device_runner.strict_json import to_json
from edgeticket.models.network import Network, Takes
from edgeticket.pipeline.data.recordings import Recordings, Spoken
from edgeticket.pipeline.data.rows import Rows
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.data.tensors import Tensors

Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.int16] | Rows | Recordings | Tensors
"""Images uint8 [N, H, W, C], or 16-bit recordings [N, samples], in memory or on disk; or recordings
of any length; or what networks with any inputs take."""

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
    """Examples that belong together: inputs and class indices int64 [N], or None where nothing is
    to be learnt.

    What there is to be learnt from them may come from a teacher besides the labels. Where it is
    what recordings say, ``spoken`` has it, and the labels only tell who speaks. Of every other
    task ``targets`` are what is right; labels are None then.
    """

    inputs: Inputs
    labels: npt.NDArray[np.int64] | None
    teacher: Teacher | None = None
    spoken: Spoken | None = None
    targets: Targets | None = None

    def __post_init__(self) -> None:
        if self.targets is not None:
            assert self.labels is None
            assert self.spoken is None
            assert len(self.targets) == len(self.inputs)
        if self.labels is not None:
            assert self.labels.dtype == np.int64
            assert self.labels.shape == (len(self.inputs),)
        if isinstance(self.inputs, Tensors):
            assert self.spoken is None
            return
        assert (self.inputs.dtype.name, self.inputs.ndim) in (("uint8", 4), ("int16", 2))
        assert isinstance(self.inputs, Recordings) == (self.spoken is not None)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """The examples at ``indices``, in that order."""
        inputs = self.inputs
        taken: Any = (
            inputs.take(indices) if isinstance(inputs, Rows | Recordings) else inputs[indices]
        )
        spoken = self.spoken and self.spoken.take(indices)
        labels = None if self.labels is None else self.labels[indices]
        targets = self.targets and self.targets.take(indices)
        return Split(taken, labels, self.teacher, spoken, targets)

    def with_separator_bias(self, bias: float) -> Split:
        """The same recordings, written down with it."""
        assert self.spoken is not None
        return replace(self, spoken=replace(self.spoken, separator_bias=bias))

    def carried(self, count: int | None) -> Carried:
        """The first ``count`` examples, or all, for a bundle."""
        some = self.take(np.arange(len(self))[:count])
        right = some.labels if some.targets is None else some.targets
        if isinstance(some.inputs, Tensors):
            return Carried(some.inputs.arrays, right, None)
        if some.spoken is None:
            return Carried((some.inputs[:],), right, None)
        assert isinstance(some.inputs, Recordings)
        return Carried((some.inputs.waveforms(),), some.spoken.texts, some.spoken.chunks)

    def queries(self, count: int | None = None) -> npt.NDArray[Any] | Tensors:
        """What model files are asked about the first ``count`` examples, or all: the inputs;
        recordings of any length cut into chunks."""
        if not isinstance(self.inputs, Recordings):
            return self.inputs[:count]
        assert self.spoken is not None
        assert self.spoken.chunks is not None  # `Dataset.heard_in` has set them
        some = self.inputs.take(np.arange(len(self))[:count])
        pieces = plan_pieces(some.lengths.tolist(), self.spoken.chunks)
        return cut(some.waveforms(), pieces, self.spoken.chunks)


class Carried(NamedTuple):
    """Examples as `pipeline.bundle.write_bundle` wants them."""

    inputs: tuple[npt.NDArray[Any] | list[npt.NDArray[np.int16]], ...]  # for each of a network's
    targets: npt.NDArray[np.int64] | tuple[str, ...] | Targets | None
    chunks: Chunks | None


@dataclass(frozen=True, eq=False)
class Collection:
    """A data set as it was published: one pool, perhaps an official test set."""

    pool: Split
    test: Split | None
    labels: tuple[str, ...]  # the name of each class; or the symbols that texts are written in
    preprocessing: tuple[Mapping[str, Any], ...]  # steps of device_runner.preprocess
    validation: Split | None = None  # None: from the pool
    capture: tuple[Mapping[str, Any], ...] = ()  # what made the inputs of decoded pictures
    random: int | None = None  # the seed that inputs were drawn with, which are noise
    calibration: Split | None = None  # None: from the pool


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
    random: int | None = None  # the seed that inputs were drawn with, which are noise

    @property
    def input_shape(self) -> Takes:
        """(channels, height, width) of one input as networks take it, or (channels, length); of
        several inputs a shape for each."""
        if isinstance(self.test.inputs, Tensors):
            shapes = self.test.inputs.shapes
            return shapes[0] if len(shapes) == 1 else shapes
        queries = self.test.queries(1)
        assert not isinstance(queries, Tensors)
        _, *space, channels = preprocess(queries[:1], self.preprocessing).shape
        return channels, *space

    @property
    def chunks(self) -> Chunks | None:
        """How recordings that are transcribed become queries; None: nothing is."""
        return None if self.test.spoken is None else self.test.spoken.chunks

    def heard_in(self, chunks: Chunks) -> Dataset:
        """The same, of recordings that are transcribed, with the chunks that a network takes."""

        def heard(split: Split) -> Split:
            assert split.spoken is not None
            return replace(split, spoken=replace(split.spoken, chunks=chunks))

        return replace(
            self,
            train=heard(self.train),
            validation=heard(self.validation),
            calibration=heard(self.calibration),
            test=heard(self.test),
        )

    def taught_by(self, teacher: Teacher) -> Dataset:
        """The same, with a teacher for the examples that are trained on."""
        return replace(self, train=replace(self.train, teacher=teacher))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that a run can see of the data."""
        described = [self.name, self.labels, [dict(step) for step in self.preprocessing]]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for split in (self.train, self.validation, self.calibration, self.test):
            inputs = split.inputs
            for array in inputs.arrays if isinstance(inputs, Tensors) else (inputs,):
                digest.update(str(array.shape).encode())
                for start in range(0, len(split), DIGESTED):
                    digest.update(np.ascontiguousarray(array[start : start + DIGESTED]).data)
            if split.labels is not None:
                digest.update(np.ascontiguousarray(split.labels).data)
            if split.spoken is not None:
                digest.update(json.dumps(to_json(split.spoken)).encode())
            if split.targets is not None:
                digest.update(split.targets.digest.encode())
            if split.teacher is not None:
                digest.update(split.teacher.digest.encode())
        return digest.hexdigest()
