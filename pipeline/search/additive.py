"""How long a network takes, as the sum of its steps.

    time = ends + steps + overhead · number of steps + reading · bytes of weights

*Steps* are measured. One whose output can be its input is run once and four times in a row: a third
of the difference is the step, the rest is what a file costs at its ends (calls, copies, changes of
layout). From these rests the *ends* are fitted, and taken off the steps that cannot be repeated.
*Overhead* and *reading* (a step alone has its weights in the cache, within a network it may not)
are fitted to whole networks that were measured beside the probes; without any they are 0. What
then is left is the residual, and is shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.search.probes import TIMES
from edgeticket.pipeline.search.steps import LAYERS, Step

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """What a file costs besides its steps, in nanoseconds: fitted."""

    call_ns: float
    byte_ns: float  # of inputs and outputs
    layer_byte_ns: float  # of those that a layer reads or gives: it may want another layout

    def ns(self, graph: Graph) -> float:
        """Of a file."""
        return float(np.dot(_end_sizes(graph), (self.call_ns, self.byte_ns, self.layer_byte_ns)))


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
    steps: Mapping[str, Step], once: Mapping[str, float], several: Mapping[str, float]
) -> tuple[dict[str, StepTime], Ends]:
    """Times of probes -> times of steps, and of ends.

    Args:
        steps: by key.
        once: times of their probes, by key.
        several: of those that run `probes.TIMES` in a row.
    """
    found: dict[str, StepTime] = {}
    sizes, rests = [], []
    for key, several_ns in several.items():
        each = max(0.0, (several_ns - once[key]) / (TIMES - 1))
        rest = max(0.0, once[key] - each)
        found[key] = StepTime(each, rest, repeated=True)
        sizes.append(_end_sizes(steps[key].graph))
        rests.append(rest)
    ends = Ends(*_fit_ends(sizes, rests, [once[key] for key in once]))
    for key, once_ns in once.items():
        if key not in found:
            taken_off = min(ends.ns(steps[key].graph), once_ns)
            found[key] = StepTime(once_ns - taken_off, taken_off, repeated=False)
    return found, ends


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


def _fit_ends(
    sizes: Sequence[Sequence[float]], rests: Sequence[float], once: Sequence[float]
) -> tuple[float, ...]:
    """Rests of probes by what goes in and out; where none can be repeated, the fastest probe."""
    if not rests:
        return min(once, default=0.0), 0.0, 0.0
    return nonnegative(np.array(sizes, np.float64), np.array(rests, np.float64))


def _end_sizes(graph: Graph) -> tuple[float, float, float]:
    """1, bytes of inputs and outputs, and bytes of those that belong to layers."""
    total = of_layers = 0
    makers = {operator.output: operator for operator in graph.operators}
    for name in graph.inputs:
        size = _bytes(graph, name)
        total += size
        of_layers += size * any(
            op.kind in LAYERS and name == op.inputs[0] for op in graph.operators
        )
    for name in graph.outputs:
        size = _bytes(graph, name)
        total += size
        of_layers += size * (name in makers and makers[name].kind in LAYERS)
    return 1.0, float(total), float(of_layers)


def _bytes(graph: Graph, name: str) -> int:
    value = graph.values[name]
    width = 1 if value.quantization is not None else {"int64": 8, "bool": 1}.get(value.dtype, 4)
    return math.prod(value.shape) * width
