"""Linear layers of more than two axes as linear layers of rows, as ONNX's Gemm wants them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from edgeticket.pipeline.graph.graph import Graph, Operator


def as_rows(graph: Graph) -> Graph:
    """Reshape [1, T, C] to [T, C] in front of each Gemm, and back behind it.

    ONNX Runtime has an integer kernel with a bias for Gemm only, and reshaping costs nothing.
    """
    values = dict(graph.values)
    operators: list[Operator] = []
    for op in graph.operators:
        source, output = op.inputs[0], op.output
        if op.kind != "Gemm" or len(graph.values[output].shape) == 2:
            operators.append(op)
            continue
        rows = {}
        for name in (source, output):
            rows[name] = f"{name}.rows"
            if rows[name] in values:  # several layers read one value
                continue
            *outer, channels = graph.values[name].shape
            values[rows[name]] = replace(
                graph.values[name], name=rows[name], shape=(math.prod(outer), channels)
            )
            if name == source:
                operators.append(Operator(rows[name], "Reshape", (name,), rows[name]))
        operators.append(replace(op, inputs=(rows[source], *op.inputs[1:]), output=rows[output]))
        operators.append(Operator(f"{op.name}.unrowed", "Reshape", (rows[output],), output))
    return replace(graph, operators=_without_detours(operators, graph.outputs), values=values)


def _without_detours(operators: list[Operator], outputs: tuple[str, ...]) -> tuple[Operator, ...]:
    """Leave out a Reshape that only another one reads."""
    readers = Counter(name for op in operators for name in op.inputs)
    readers.update(outputs)
    kept: dict[str, Operator] = {}  # by output, in order
    for op in operators:
        before = kept.get(op.inputs[0])
        if op.kind == "Reshape" and before is not None and before.kind == "Reshape":
            if readers[before.output] == 1:
                del kept[before.output]
            op = replace(op, inputs=before.inputs)
        kept[op.output] = op
    return tuple(kept.values())
