"""Layers around a step: in a network its neighbours decide in which layout maps come to it.

ONNX Runtime keeps maps in a layout of its own between convolutions, and other operators have
faster kernels in it. A probe of such an operator has a depthwise convolution at each end, whose own
time is known from a probe of it; so are the costs of a file's ends for its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Quantization, Value
from edgeticket.pipeline.search.steps import LAYERS, SCALE, WEIGHT_SCALE, Step, steps_of

SHAPES = 5  # of each size of maps, whose ends are measured; between them they are interpolated

Map = tuple[bool, tuple[int, ...]]
"""Whether a map is codes, and its shape [1, C, H, W]."""


def map_of(value: Value) -> Map | None:
    """A value as a map; None where it is none."""
    if len(value.shape) != 4 or value.dtype != "float32":
        return None
    return value.quantization is not None, value.shape


def ends_of(graph: Graph) -> list[Value]:
    """What goes in and out."""
    return [graph.values[name] for name in (*graph.inputs, *graph.outputs)]


def is_framed(step: Step, *, runtime: str) -> bool:
    """Whether layers are put around a step: it is none itself, and reads and gives maps alone."""
    if runtime != "ort" or set(step.kinds) & set(LAYERS) or not step.graph.inputs:
        return False
    return all(map_of(value) is not None for value in ends_of(step.graph))


def frame_steps(steps: Iterable[Step], wholes: Iterable[Graph], *, runtime: str) -> dict[Map, Step]:
    """A depthwise convolution for maps that go in and out of steps and of whole networks.

    For all that are put around steps, and for some of each size of maps.
    """
    needed: set[Map] = set()
    others: dict[tuple[bool, tuple[int, ...]], set[Map]] = {}
    graphs = [(step.graph, is_framed(step, runtime=runtime)) for step in steps]
    for graph, framed in [*graphs, *((graph, False) for graph in wholes)]:
        for found in filter(None, map(map_of, ends_of(graph))):
            if framed:
                needed.add(found)
            others.setdefault((found[0], found[1][2:]), set()).add(found)
    for several in others.values():
        ordered = sorted(several)
        count = min(SHAPES, len(ordered))
        needed.update(
            ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)
        )
    return {found: depthwise(*found, runtime=runtime) for found in sorted(needed)}


def depthwise(rounded: bool, shape: tuple[int, ...], *, runtime: str) -> Step:
    """A depthwise 3x3 convolution that keeps the shape."""
    quantization = Quantization(SCALE, 0) if rounded else None
    values = {name: Value(name, shape, quantization) for name in ("input", "output")}
    weight, bias = _weights(shape[1], rounded=rounded)
    layer = _layer("frame", "input", "output", shape[1])
    graph = Graph(
        ("input",), ("output",), (layer,), values, {"frame.weight": weight, "frame.bias": bias}
    )
    (step,) = steps_of(graph, runtime=runtime)
    return step


def framed(graph: Graph) -> Graph:
    """A step's graph with a depthwise convolution before each input, and behind each output."""
    values, constants = dict(graph.values), dict(graph.constants)
    before: list[Operator] = []
    behind: list[Operator] = []
    names: dict[str, str] = {}
    for side, ends in ((before, graph.inputs), (behind, graph.outputs)):
        for inner in ends:
            value = graph.values[inner]
            outer = names[inner] = f"frame_{inner}"
            values[outer] = replace(value, name=outer)
            channels = value.shape[1]
            layer = f"frame_{inner}_layer"
            pair = (outer, inner) if side is before else (inner, outer)
            side.append(_layer(layer, *pair, channels))
            weight, bias = _weights(channels, rounded=value.quantization is not None)
            constants[f"{layer}.weight"], constants[f"{layer}.bias"] = weight, bias
    return Graph(
        tuple(names[name] for name in graph.inputs),
        tuple(names[name] for name in graph.outputs),
        (*before, *graph.operators, *behind),
        values,
        constants,
    )


def _layer(name: str, source: str, output: str, channels: int) -> Operator:
    attributes: Mapping[str, object] = {
        "group": channels,
        "dilations": [1, 1],
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [1, 1],
    }
    return Operator(name, "Conv", (source, f"{name}.weight", f"{name}.bias"), output, attributes)


def _weights(channels: int, *, rounded: bool) -> tuple[Constant, Constant]:
    shape = (channels, 1, 3, 3)
    bias = Constant(np.full(channels, 0.125, np.float32))
    if rounded:
        codes = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
        return Constant(codes, np.full(channels, WEIGHT_SCALE)), bias
    return Constant(np.full(shape, 0.1, np.float32)), bias
