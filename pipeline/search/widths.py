"""How a layer's time goes with its channels: kernels compute several at once, used or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Quantization, Value
from edgeticket.pipeline.search.steps import Step, steps_of

WIDTHS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
QUANTA = (32, 16, 8, 4)
FLAT = 0.95  # a width that costs so much of the next multiple brings nothing


@dataclass(frozen=True)
class WidthCurve:
    """Of one layer as wide at its input as at its output.

    quantum: between multiples of it time stands still; None: it does not.
    """

    layer: str
    kernel: tuple[int, int]
    size: tuple[int, int]  # height and width of the maps
    times_ns: Mapping[int, float]  # by channels

    @property
    def quantum(self) -> int | None:
        """Read off the times."""
        for quantum in QUANTA:
            steps = [
                self.times_ns[width] / self.times_ns[up]
                for width in self.times_ns
                if width % quantum and (up := -(-width // quantum) * quantum) in self.times_ns
            ]
            if steps and min(steps) >= FLAT:
                return quantum
        return None


def costliest_convolution(steps: Sequence[tuple[Step, float]]) -> Step | None:
    """The convolution of all channels with each other that takes most time, all alike together."""
    totals: dict[tuple[object, ...], float] = {}
    firsts: dict[tuple[object, ...], Step] = {}
    for step, time_ns in steps:
        operator = step.graph.operators[0]
        shape = step.graph.values[step.graph.inputs[0]].shape if step.graph.inputs else ()
        if operator.kind != "Conv" or operator.attributes["group"] != 1 or len(shape) != 4:
            continue
        kind = (shape[2:], tuple(operator.attributes["kernel_shape"]))
        totals[kind] = totals.get(kind, 0.0) + time_ns
        firsts.setdefault(kind, step)
    return firsts[max(totals, key=totals.__getitem__)] if totals else None


def width_steps(step: Step, *, runtime: str) -> dict[int, Step]:
    """A convolution like that of ``step`` at stride 1, for each of `WIDTHS`."""
    operator = step.graph.operators[0]
    source = step.graph.values[step.graph.inputs[0]]
    kernel = [int(size) for size in operator.attributes["kernel_shape"]]
    height, width = (int(size) for size in source.shape[2:])
    return {
        channels: _convolution(
            channels, kernel, (height, width), source.quantization is not None, runtime
        )
        for channels in WIDTHS
    }


def _convolution(
    channels: int, kernel: Sequence[int], size: tuple[int, int], rounded: bool, runtime: str
) -> Step:
    quantization = Quantization(np.float32(2.0**-5), -128) if rounded else None
    values = {name: Value(name, (1, channels, *size), quantization) for name in ("input", "output")}
    shape = (channels, channels, *kernel)
    weight = Constant(np.ones(shape, np.float32))
    if rounded:
        weight = Constant(np.ones(shape, np.int8), np.ones(channels, np.float32))
    before = [extent // 2 for extent in kernel]
    after = [extent - 1 - extent // 2 for extent in kernel]
    attributes = {
        "group": 1,
        "dilations": [1] * len(kernel),
        "kernel_shape": list(kernel),
        "pads": [*before, *after],
        "strides": [1] * len(kernel),
    }
    layer = Operator(
        "layer", "Conv", ("input", "weight", "bias"), "output", attributes,
        clamp=None if rounded else (0.0, float("inf")),
    )  # fmt: skip
    constants = {"weight": weight, "bias": Constant(np.ones(channels, np.float32))}
    (step,) = steps_of(Graph(("input",), ("output",), (layer,), values, constants), runtime=runtime)
    return step
