"""Which channels along a graph's axes belong together: they stay or go as one.

Every place along an axis of a parameter has a label. Values carry the labels of the parameters
that wrote them from operator to operator; where two meet, their labels are tied. What one set of
tied labels names can be removed as one channel, unless something in it has to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.graph.graph import Array, Graph, Operator

Labels = npt.NDArray[np.int64]
STAYS = 0  # the label of what is never removed


class Part(Enum):
    """What an axis of a parameter is for the channels along it."""

    MAKES = "its rows compute them"
    WRITES = "they are zero where it is zero, and it belongs to channels that others compute"
    READS = "its columns read them"
    SCALES = "it lies along them, and they are zero without it"


@dataclass(frozen=True)
class Origin:
    """Where the numbers along one axis of a constant come from: an axis of a parameter."""

    tensor: str
    axis: int
    indices: Labels  # of each place


class Parameters(Protocol):
    """What is known of the parameters of a network."""

    def origin(self, constant: str, axis: int) -> Origin | None:
        """Where a constant comes from, or None where that is no single axis of a parameter."""

    def size(self, tensor: str, axis: int) -> int:
        """Of an axis of a parameter."""

    def fixed(self, tensor: str, axis: int) -> str:
        """Why nothing can be removed along an axis; "" where it can."""


@dataclass(frozen=True, eq=False)
class Track:
    """The channels along one axis of a value.

    labels: for each place.
    zero: for each place, whether all numbers there are 0 once its channel is masked.
    broken: the operator behind which they are not, for sentences.
    """

    labels: Labels
    zero: npt.NDArray[np.bool_]
    broken: str = ""

    def at(self, places: Any) -> Track:
        """The track of some of its places."""
        return Track(self.labels[places], self.zero[places], self.broken)


Evaluate = Callable[[Any, Operator, list[Array]], Array]
"""(meaning of an operator, operator, operands) -> what it computes."""


class ChannelFlow:
    """Labels that are tied to each other, and the tracks of all values so far."""

    def __init__(self, graph: Graph, parameters: Parameters, evaluate: Evaluate) -> None:
        self.graph, self.parameters, self.evaluate = graph, parameters, evaluate
        self.tracks: dict[tuple[str, int], Track] = {}
        self.parts: dict[tuple[str, int], Part] = {}
        self.first: dict[tuple[str, int], int] = {}  # label of an axis of a parameter, in order
        self.makers: dict[tuple[str, int], list[Operator]] = {}  # what computes with an axis
        self.reasons: dict[int, str] = {}  # of the first of a set of labels that stays
        self._parent = [STAYS]
        self._readers: dict[str, list[Operator]] = {}
        for operator in graph.operators:
            for name in operator.inputs:
                self._readers.setdefault(name, []).append(operator)

    # --- values

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value or constant."""
        if name in self.graph.constants:
            return self.graph.constants[name].data.shape
        return self.graph.values[name].shape

    def is_stored(self, name: str) -> bool:
        """Whether it is a constant."""
        return name in self.graph.constants

    def readers(self, name: str) -> list[Operator]:
        """The operators that read a value."""
        return self._readers.get(name, [])

    def track(self, name: str, axis: int) -> Track | None:
        """The channels along an axis of a value; None where nothing along it can go."""
        return self.tracks.get((name, axis))

    def labels(self, name: str, axis: int) -> Labels:
        """The same, for every place."""
        track = self.track(name, axis)
        if track is None:
            return np.full(self.shape(name)[axis], STAYS, np.int64)
        return track.labels

    def put(self, name: str, axis: int, track: Track | None) -> None:
        """Say what lies along an axis of a value."""
        if track is None:
            return
        stays = np.array([self.reason(label) is not None for label in track.labels.tolist()])
        labels = np.where(stays, STAYS, track.labels)
        if labels.any():
            self.tracks[name, axis] = Track(labels, track.zero, track.broken)

    # --- parameters

    def stored(self, name: str, axis: int, part: Part, operator: Operator) -> Labels | None:
        """The labels along an axis of a constant; None where no axis of a parameter is behind."""
        origin = self.parameters.origin(name, axis)
        if origin is None:
            return None
        key = origin.tensor, origin.axis
        if key not in self.first:
            self.first[key] = len(self._parent)
            size = self.parameters.size(*key)
            self._parent.extend(range(len(self._parent), len(self._parent) + size))
            if why := self.parameters.fixed(*key):
                self.protect(self.first[key] + np.arange(size), why)
        before = self.parts.setdefault(key, part)
        if before is not part:
            self.parts[key] = next(p for p in Part if p in (before, part))
        self.makers.setdefault(key, []).append(operator)
        return self.first[key] + origin.indices

    def is_uniform(self, name: str, axis: int) -> bool:
        """Whether all numbers along an axis of a constant are the same."""
        data = self.graph.constants[name].data
        return bool((data == data.take([0], axis)).all())

    # --- labels

    def root(self, label: int) -> int:
        """The label that stands for all that are tied to this one."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, first: int, count: int) -> list[int]:
        """The roots of labels that follow each other."""
        return [self.root(label) for label in range(first, first + count)]

    def reason(self, label: int) -> str | None:
        """Why what a label names has to stay; None if it does not."""
        return "" if label == STAYS else self.reasons.get(self.root(label))

    def tie(self, left: Labels, right: Labels, why: str) -> None:
        """Let places go together; what meets something that stays, stays."""
        if left is right:
            return
        left, right = np.broadcast_arrays(left, right)
        for a, b in set(zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)):
            if STAYS in (a, b):
                self._protect(a or b, why)
                continue
            first, second = self.root(a), self.root(b)
            if first == second:
                continue
            self._parent[second] = first
            stays = self.reasons.pop(second, None)
            if stays is not None:
                self.reasons.setdefault(first, stays)

    def protect(self, labels: Iterable[int], why: str) -> None:
        """Let everything that is tied to ``labels`` stay."""
        for label in {int(label) for label in labels}:
            self._protect(label, why)

    def _protect(self, label: int, why: str) -> None:
        if label != STAYS:
            self.reasons.setdefault(self.root(label), why)

    def protect_value(self, name: str, why: str) -> None:
        """Let all channels of a value, or of the parameters behind a constant, stay."""
        for axis in range(len(self.shape(name))):
            if self.is_stored(name):
                origin = self.parameters.origin(name, axis)
                if origin is None or (origin.tensor, origin.axis) not in self.first:
                    continue
                self.protect(self.first[origin.tensor, origin.axis] + origin.indices, why)
            elif (track := self.track(name, axis)) is not None:
                self.protect(track.labels.tolist(), why)

    def need_zero(self, track: Track, reader: str) -> None:
        """Let stay what does not become 0: ``reader`` would miss it."""
        nonzero = track.labels[~track.zero]
        where = f" behind {track.broken}" if track.broken else ""
        self.protect(nonzero.tolist(), f"does not become 0{where}, and {reader} reads it")


def place(operator: Operator) -> str:
    """How sentences name an operator: by the module that it was."""
    path = next(iter(operator.origin), "")
    return f"{path} ({operator.kind})" if path else str(operator)
