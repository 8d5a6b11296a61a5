"""Convolutions over one axis become convolutions over two, of height 1.

Runtimes have their fast kernels for two axes. Every value [1, C, W] that such a convolution reads
or writes, and what is computed from those number by number, becomes [1, C, 1, W]; input and output
of the network keep their shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeticket.pipeline.graph.graph import Constant, Graph, Operator

ELEMENTWISE = frozenset({"Add", "Clip", "Mul"})


def lift_1d(graph: Graph) -> Graph:
    """The same function, with convolutions and pools over height and width only."""
    maps = _maps(graph)
    if not maps:
        return graph
    ends = {*graph.inputs, *graph.outputs}
    values, constants = dict(graph.values), dict(graph.constants)
    operators: list[Operator] = []
    for name in maps:
        *outer, width = values[name].shape
        tall = replace(values[name], name=_map_name(name, ends), shape=(*outer, 1, width))
        values[tall.name] = tall
        if name not in ends:
            flat = f"{name}.flat"
            values[flat] = replace(graph.values[name], name=flat)

    def reshape(source: str, output: str) -> None:
        operators.append(Operator(f"{output}.reshape", "Reshape", (source,), output))

    there = set(graph.inputs)
    for op in graph.operators:
        # A number for each place that is added stays flat, as the value that it is added to.
        on_maps = _is_windowed(op) or (op.kind in ELEMENTWISE and {*op.inputs, op.output} <= maps)
        name_of = _map_name if on_maps else _flat_name
        other = _flat_name if on_maps else _map_name
        for name in maps.intersection(op.inputs):
            if name_of(name, ends) not in there:
                reshape(other(name, ends), name_of(name, ends))
                there.add(name_of(name, ends))
        inputs = tuple(name_of(n, ends) if n in maps else n for n in op.inputs)
        output = name_of(op.output, ends) if op.output in maps else op.output
        there.add(output)
        if _is_windowed(op):
            constants |= _tall_weights(op, graph)
            op = replace(op, attributes=_tall(op.attributes))
            inputs = (inputs[0], *(f"{n}.tall" for n in inputs[1:2]), *inputs[2:])
        operators.append(replace(op, inputs=inputs, output=output))
    for output in graph.outputs:
        if output not in there:
            reshape(_map_name(output, ends), output)
            there.add(output)
    used = {name for op in operators for name in op.inputs}
    return replace(
        graph,
        operators=tuple(operators),
        values={name: value for name, value in values.items() if name in there},
        constants={name: constant for name, constant in constants.items() if name in used},
    )


def _maps(graph: Graph) -> set[str]:
    """The values that are to be [1, C, 1, W]."""
    maps = {
        name for op in graph.operators if _is_windowed(op) for name in (op.inputs[0], op.output)
    }
    size = -1
    while len(maps) != size:
        size = len(maps)
        for op in graph.operators:
            names = {*op.inputs, op.output}
            if op.kind in ELEMENTWISE and names & maps and names <= graph.values.keys():
                maps |= names
    return maps


def _is_windowed(op: Operator) -> bool:
    return "kernel_shape" in op.attributes and len(op.attributes["kernel_shape"]) == 1


def _map_name(name: str, ends: set[str]) -> str:
    return f"{name}.map" if name in ends else name


def _flat_name(name: str, ends: set[str]) -> str:
    return name if name in ends else f"{name}.flat"


def _tall(attributes: Mapping[str, Any]) -> dict[str, Any]:
    tall = dict(attributes)
    for name in attributes.keys() & {"kernel_shape", "strides", "dilations"}:
        tall[name] = [1, *attributes[name]]
    before, after = attributes["pads"]
    tall["pads"] = [0, before, 0, after]
    return tall


def _tall_weights(op: Operator, graph: Graph) -> dict[str, Constant]:
    return {
        f"{name}.tall": replace(graph.constants[name], data=graph.constants[name].data[:, :, None])
        for name in op.inputs[1:2]
    }
