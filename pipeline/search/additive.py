"""How long a network takes, as the sum of its steps.

    time = ends + steps + overhead · number of steps + reading · bytes of weights

*Steps* are measured. One whose output can be its input is run once and four times in a row: a third
of the difference is the step, the rest is what a file costs at its ends (calls, copies, changes of
layout). That is done with a depthwise convolution of each shape (`frames`), so the *ends* are known
by shape, and are taken off the steps that cannot be repeated; so is the time of layers that stand
around a step.
*Overhead* and *reading* (a step alone has its weights in the cache, within a network it may not)
are fitted to whole networks that were measured beside the probes; without any they are 0. What
then is left is the residual, and is shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.graph.graph import Graph, Value
from edgeticket.pipeline.search.frames import Map, ends_of, map_of
from edgeticket.pipeline.search.probes import TIMES
from edgeticket.pipeline.search.steps import Step

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """What a file costs besides its steps, in nanoseconds.

    call_ns, byte_ns: fitted to all files whose ends were measured.
    maps: by format and size of a map, what one that goes in or out costs, by its bytes: measured,
        less the call.
    """

    call_ns: float
    byte_ns: float
    maps: Mapping[tuple[bool, tuple[int, ...]], Mapping[int, float]] = field(default_factory=dict)

    def ns(self, graph: Graph) -> float:
        """Of a file."""
        return self.call_ns + sum(map(self.end_ns, ends_of(graph)))

    def end_ns(self, value: Value) -> float:
        """Of one input or output; between channels that were measured along a straight line."""
        size = size_bytes(value)
        found = map_of(value)
        known = {} if found is None else self.maps.get((found[0], found[1][2:]), {})
        if not known:
            return self.byte_ns * size
        sizes, costs = list(known), list(known.values())
        if size > sizes[-1]:
            return costs[-1] * size / sizes[-1]
        return float(np.interp(size, sizes, costs))


@dataclass(frozen=True)
class StepTime:
    """Of one step; ``fitted_ns`` of the time that was measured was taken off as ends."""

    ns: float
    fitted_ns: float
    repeated: bool


@dataclass(frozen=True)
class Whole:
    """A network that was measured as a whole, and what the parts say of it."""

    name: str
    measured_ns: float
    predicted_ns: float

    @property
    def residual(self) -> float:
        """(predicted − measured) / measured."""
        return self.predicted_ns / self.measured_ns - 1


@dataclass(frozen=True)
class AdditiveModel:
    """Of one runtime and precision on one board."""

    steps: Mapping[str, StepTime]  # by `Step.key`
    ends: Ends
    step_overhead_ns: float = 0.0
    weight_byte_ns: float = 0.0
    anchors: tuple[Whole, ...] = ()

    def step_ns(self, step: Step) -> float:
        """A step within a network."""
        return (
            self.steps[step.key].ns
            + self.step_overhead_ns
            + self.weight_byte_ns * step.weight_bytes
        )

    def predict(self, graph: Graph, steps: Sequence[Step]) -> float:
        """A network, in nanoseconds.

        Raises:
            KeyError: a step that was not measured.
        """
        return self.ends.ns(graph) + sum(map(self.step_ns, steps))


def measured_steps(
    steps: Mapping[str, Step],
    once: Mapping[str, float],
    several: Mapping[str, float],
    frames: Mapping[Map, str] = MappingProxyType({}),
    framed: Collection[str] = (),
) -> tuple[dict[str, StepTime], Ends]:
    """Times of probes -> times of steps, and of ends.

    Args:
        steps: by key.
        once: times of their probes, by key.
        several: of those that run `probes.TIMES` in a row.
        frames: map -> key of the depthwise convolution on it.
        framed: keys of steps whose probes have such layers around them.
    """
    found: dict[str, StepTime] = {}
    rests: dict[str, float] = {}
    for key, several_ns in several.items():
        each = max(0.0, (several_ns - once[key]) / (TIMES - 1))
        rests[key] = max(0.0, once[key] - each)
        found[key] = StepTime(each, rests[key], repeated=True)
    ends = _ends(steps, rests, frames, framed, list(once.values()))
    for key, once_ns in once.items():
        if key not in found:
            graph = steps[key].graph
            taken_off = ends.ns(graph)
            if key in framed:
                around = filter(None, map(map_of, ends_of(graph)))
                taken_off += sum(found[frames[one]].ns for one in around)
            taken_off = min(taken_off, once_ns)
            found[key] = StepTime(once_ns - taken_off, taken_off, repeated=False)
    return found, ends


def _ends(
    steps: Mapping[str, Step],
    rests: Mapping[str, float],
    frames: Mapping[Map, str],
    framed: Collection[str],
    once: Sequence[float],
) -> Ends:
    """Of maps by the layers on them; the call, and what has no map, by all that is repeated."""
    plain = [key for key in rests if key not in framed]
    if not plain:
        return Ends(min(once, default=0.0), 0.0)
    sizes = [[1.0, float(sum(map(size_bytes, ends_of(steps[key].graph))))] for key in plain]
    call_ns, byte_ns = nonnegative(np.array(sizes), np.array([rests[key] for key in plain]))
    # No call costs more than the cheapest file.
    call_ns = min(call_ns, *(rests[key] for key in plain), *once)
    maps: dict[tuple[bool, tuple[int, ...]], dict[int, float]] = {}
    for (rounded, shape), key in sorted(frames.items()):
        if key in rests:
            size = size_bytes(steps[key].graph.values[steps[key].graph.inputs[0]])
            costs = maps.setdefault((rounded, shape[2:]), {})
            costs[size] = max(0.0, rests[key] - call_ns) / 2
    return Ends(call_ns, byte_ns, maps)


def fitted(
    steps: Mapping[str, StepTime],
    ends: Ends,
    wholes: Sequence[tuple[str, float, Graph, Sequence[Step]]],
) -> AdditiveModel:
    """The model that fits whole networks best: name, measured time, graph and steps of each."""
    plain = AdditiveModel(steps, ends)
    if not wholes:
        return plain
    rows, left = [], []
    for _, measured_ns, graph, parts in wholes:
        weights = sum(step.weight_bytes for step in parts)
        # Relative errors count: a large network is not to decide alone.
        rows.append([len(parts) / measured_ns, weights / measured_ns])
        left.append(1 - plain.predict(graph, parts) / measured_ns)
    overhead, reading = nonnegative(np.array(rows), np.array(left))
    model = AdditiveModel(steps, ends, overhead, reading)
    anchors = tuple(
        Whole(name, measured_ns, model.predict(graph, parts))
        for name, measured_ns, graph, parts in wholes
    )
    return AdditiveModel(steps, ends, overhead, reading, anchors)


def nonnegative(rows: Floats, wanted: Floats) -> tuple[float, ...]:
    """The least squares solution without negative numbers, of a few unknowns: each set is tried."""
    unknowns = rows.shape[1]
    best: tuple[float, ...] = (0.0,) * unknowns
    least = float(np.square(wanted).sum())
    for count in range(1, unknowns + 1):
        for chosen in itertools.combinations(range(unknowns), count):
            part = rows[:, chosen]
            if np.linalg.matrix_rank(part) < count:
                continue
            solution = np.linalg.lstsq(part, wanted, rcond=None)[0]
            error = float(np.square(part @ solution - wanted).sum())
            if (solution >= 0).all() and error < least:
                numbers = [0.0] * unknowns
                for at, number in zip(chosen, solution, strict=True):
                    numbers[at] = float(number)
                best, least = tuple(numbers), error
    return best


def size_bytes(value: Value) -> int:
    """Of a tensor as files have it."""
    width = 1 if value.quantization is not None else {"int64": 8, "bool": 1}.get(value.dtype, 4)
    return math.prod(value.shape) * width
