"""Where a quantised graph computes on codes and where on real numbers.

Normalisation, softmax and the like have no integer kernels that two runtimes agree on, so they
are computed in float32 (`Kind.real`), as is a layer whose weights were not rounded. Between
the two domains stand operators of their own: DequantizeLinear once for each rounded value that is
needed as real numbers, QuantizeLinear behind each real result that is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Value
from edgeticket.pipeline.operators import KINDS

LAYERS = frozenset({"Conv", "Gemm"})  # their weights decide


def insert_qdq(graph: Graph) -> Graph:
    """Insert the conversions: then each operator reads and writes codes only, or reals only."""
    values = dict(graph.values)
    operators: list[Operator] = []

    def real(name: str) -> str:
        if name not in graph.values or graph.values[name].quantization is None:
            return name
        twin = f"{name}.dequantized"
        if twin not in values:
            values[twin] = Value(twin, graph.values[name].shape)
            operators.append(Operator(twin, "DequantizeLinear", (name,), twin))
        return twin

    for op in graph.operators:
        if is_integer(op, graph.values, graph.constants):
            operators.append(op)
            continue
        inputs = tuple(map(real, op.inputs))
        result = graph.values[op.output]
        if result.quantization is None or KINDS[op.kind].crosses:
            operators.append(replace(op, inputs=inputs))
            continue
        free = f"{op.output}.unrounded"
        values[free] = Value(free, result.shape)
        operators.append(replace(op, inputs=inputs, output=free))
        operators.append(Operator(f"{op.name}.round", "QuantizeLinear", (free,), op.output))
    return replace(graph, operators=tuple(operators), values=values)


def is_integer(
    operator: Operator, values: Mapping[str, Value], constants: Mapping[str, Constant]
) -> bool:
    """Whether an operator works on codes: all that it reads and writes is rounded."""
    kind = KINDS[operator.kind]
    if kind.real or kind.crosses:
        return False
    if operator.kind in LAYERS:
        return constants[operator.inputs[1]].scale is not None
    names = [name for name in (*operator.inputs, operator.output) if name]
    scales = [values[name].quantization if name in values else None for name in names]
    if None in scales or (kind.keeps_codes and len(set(scales)) > 1):
        return False
    if not kind.integral(operator, [values[name] for name in names]):
        return False
    last = scales[-1]
    assert last is not None
    if kind.fixed is None or kind.rounded is not None:
        return True
    scale, zero_point = kind.fixed  # its kernels know no other
    return (float(last.scale), last.zero_point) == (scale, zero_point)
