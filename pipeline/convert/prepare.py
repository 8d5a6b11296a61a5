"""A graph as it was read -> one that every writer can write as it stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeticket.pipeline.convert.exact_sums import make_exact
from edgeticket.pipeline.convert.fuse import fuse
from edgeticket.pipeline.convert.lift import lift_1d
from edgeticket.pipeline.convert.linear_bias import fuse_biases
from edgeticket.pipeline.convert.qdq_insertion import LAYERS, insert_qdq, is_integer
from edgeticket.pipeline.graph.graph import (
    FUSIBLE,
    Constant,
    Graph,
    Operator,
    Value,
    is_redundant,
)
from edgeticket.pipeline.operators import KINDS, Substitution


def prepare(graph: Graph) -> Graph:
    """Fuse what runs as one, settle clamps, and say where codes become numbers and back.

    Steps in float32 between codes become what all runtimes come to the same bits in, unless the
    graph is to be written as it stands.
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
        reason = _unfit_bias(op, values, constants) if graph.verbatim else ""
        op, numbers = _settle_weight(op, values, constants, reason)
        constants |= numbers
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
    ready = replace(
        Graph(graph.inputs, graph.outputs, tuple(settled), values, used_constants),
        verbatim=graph.verbatim,
    )
    placed = insert_qdq(lift_1d(ready))
    return placed if graph.verbatim else make_exact(placed)


def prepare_real(graph: Graph) -> Graph:
    """Fuse what runs as one, and settle clamps, of values in float32; weights that are codes stay.

    Where values were rounded is for whoever knows it.
    """
    rounded = [name for name, value in graph.values.items() if value.quantization is not None]
    kept = [*graph.outputs, *rounded]
    shapes = {name: value.shape for name, value in graph.values.items()}
    operators = fuse(fuse_biases(graph.operators, graph, kept), shapes, kept)
    values = {name: replace(v, quantization=None) for name, v in graph.values.items()}
    settled: list[Operator] = []
    for op in operators:
        clipped, free = _settle_clamp(op, values[op.output])
        settled += clipped
        values |= {value.name: value for value in free}
    used = {name for op in settled for name in (*op.inputs, op.output)}.union(graph.inputs)
    return lift_1d(
        replace(
            graph,
            operators=tuple(settled),
            values={name: value for name, value in values.items() if name in used},
            constants={name: c for name, c in graph.constants.items() if name in used},
        )
    )


def _value(op: Operator, values: dict[str, Value], graph: Graph) -> Value:
    """The output of ``op``, with a scale if it is rounded."""
    given = graph.values[op.output]
    sources = [values[name].quantization for name in op.inputs if name in values]
    stored = any(name and name not in values for name in op.inputs)
    quantization = given.quantization
    if quantization is None and KINDS[op.kind].keeps_codes and not stored:
        # Numbers of inputs that have one scale.
        quantization = sources[0] if len(set(sources)) == 1 else None
    return replace(given, quantization=quantization)


def _settle_weight(
    op: Operator, values: dict[str, Value], constants: dict[str, Constant], reason: str = ""
) -> tuple[Operator, dict[str, Constant]]:
    """A layer that reads or makes real numbers gets what the codes of its weight stand for.

    So does one that cannot compute on codes for another ``reason``.
    """
    weight = op.inputs[1] if op.kind in LAYERS else ""
    if not weight or constants[weight].scale is None:
        return op, {}
    rounded = None not in (values[op.inputs[0]].quantization, values[op.output].quantization)
    if rounded and not reason:
        return op, {}
    codes, scale = constants[weight].data, constants[weight].scale
    assert scale is not None
    column = scale.reshape(-1, *[1] * (codes.ndim - 1))
    name = f"{weight}.real"
    inputs = (op.inputs[0], name, *op.inputs[2:])
    return replace(op, inputs=inputs), {
        name: Constant(codes.astype(np.float32) * column, unfit=reason)
    }


def _unfit_bias(op: Operator, values: dict[str, Value], constants: dict[str, Constant]) -> str:
    """Why a layer's bias does not fit the int32 codes of its sums, if so: of a channel nearly 0."""
    if op.kind not in LAYERS or len(op.inputs) < 3:
        return ""
    source, scale = values[op.inputs[0]].quantization, constants[op.inputs[1]].scale
    if source is None or scale is None:
        return ""
    with np.errstate(divide="ignore", over="ignore"):
        codes = np.abs(constants[op.inputs[2]].data / (source.scale * scale).astype(np.float64))
    channel = int(np.argmax(codes))
    if codes[channel] <= np.iinfo(np.int32).max:
        return ""
    return f"the bias of its channel {channel} does not fit int32, as its weights are nearly 0"


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
