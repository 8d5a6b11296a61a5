"""Inputs whose whole numbers are indices of a stored table, as tokens are."""

from __future__ import annotations

from edgeticket.pipeline.graph.graph import Graph

# What passes whole numbers on as they are.
PASSES_ON = frozenset(
    {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice"}
)

TABLES = frozenset({"Embedding", "Gather"})  # (table, indices) -> entries


def index_limits(graph: Graph) -> dict[str, int]:
    """Inputs that are indices -> how many entries the smallest of their tables has."""
    source = {name: name for name in graph.inputs}
    limits: dict[str, int] = {}
    for operator in graph.operators:
        first = operator.inputs[0] if operator.inputs else ""
        if operator.kind in PASSES_ON and first in source:
            source[operator.output] = source[first]
        if operator.kind in TABLES and first in graph.constants:
            name = source.get(operator.inputs[1], "")
            axis = int(operator.attributes.get("axis", 0))
            size = graph.constants[first].data.shape[axis]
            if name:
                limits[name] = min(size, limits.get(name, size))
    return limits
