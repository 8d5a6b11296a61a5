"""A graph as it was read -> one that every writer can write as it stands."""

from __future__ import annotations

from dataclasses import replace

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.convert.fuse import fuse
from edgeticket.pipeline.convert.lift import lift_1d
from edgeticket.pipeline.convert.linear_bias import fuse_biases
from edgeticket.pipeline.convert.qdq_insertion import insert_qdq, is_integer
from edgeticket.pipeline.graph.graph import (
    FUSIBLE,
    Graph,
    Operator,
    Value,
    is_redundant,
)
from edgeticket.pipeline.operators import KINDS, Substitution


def prepare(graph: Graph) -> Graph:
    """Fuse what runs as one, settle clamps, and say where codes become numbers and back.

    Raises:
        InputError: int8 weights meet values that are not rounded.
    """
    rounded = [name for name, value in graph.values.items() if value.quantization is not None]
    kept = [*graph.outputs, *rounded]
    operators = fuse_biases(graph.operators, graph, kept)
    shapes = {name: value.shape for name, value in graph.values.items()}
    operators = fuse(operators, shapes, kept)
    values = {name: graph.values[name] for name in graph.inputs}
    constants = dict(graph.constants)
    settled: list[Operator] = []
    for op in operators:
        output = values[op.output] = _value(op, values, graph)
        stands = Substitution((op,), {})
        kind = KINDS[op.kind]
        if kind.rounded and is_integer(op, values, constants):
            stands = kind.rounded(op, values[op.inputs[0]], output)
        constants |= stands.constants
        values |= {value.name: value for value in stands.values}
        for step in stands.operators:
            clipped, free = _settle_clamp(step, values[step.output])
            settled += clipped
            values |= {value.name: value for value in free}
    used = {name for op in settled for name in op.inputs}
    used_constants = {n: c for n, c in constants.items() if n in used}
    ready = Graph(graph.inputs, graph.outputs, tuple(settled), values, used_constants)
    return insert_qdq(lift_1d(ready))


def _value(op: Operator, values: dict[str, Value], graph: Graph) -> Value:
    """The output of ``op``, with a scale if it is rounded."""
    given = graph.values[op.output]
    sources = [values[name].quantization for name in op.inputs if name in values]
    stored = any(name and name not in values for name in op.inputs)
    quantization = given.quantization
    if quantization is None and KINDS[op.kind].keeps_codes and not stored:
        # Numbers of inputs that have one scale.
        quantization = sources[0] if len(set(sources)) == 1 else None
    coded = any(graph.constants[n].scale is not None for n in op.inputs if n in graph.constants)
    if coded and None in (*sources, quantization):
        raise InputError(f"{op} has int8 weights, but its input or output is not rounded")
    return replace(given, quantization=quantization)


def _settle_clamp(op: Operator, output: Value) -> tuple[list[Operator], list[Value]]:
    """Leave clipping to saturation, or to the operator if it can, or to a Clip behind it."""
    if op.kind == "Clip" or op.clamp is None:
        return [op], []
    if output.quantization and is_redundant(op.clamp, output.quantization):
        return [replace(op, clamp=None)], []
    if op.clamp in FUSIBLE:
        return [op], []
    free = replace(output, name=f"{op.name}.free")
    clip = Operator(f"{op.name}.clip", "Clip", (free.name,), op.output, clamp=op.clamp)
    return [replace(op, output=free.name, clamp=None), clip], [free]
