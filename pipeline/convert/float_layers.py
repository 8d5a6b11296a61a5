"""Why a layer of a quantised file is computed in float32, in words."""

from __future__ import annotations

from edgeticket.pipeline.graph.graph import Graph, Operator

MOVING = frozenset({"Flatten", "Reshape"})  # which compute nothing
BEFORE = MOVING | {"Pad", "PadNumber"}
BEHIND = MOVING | {"Clip", "DepthToSpace", "Slice", "Transpose"}


def why_real(layer: Operator, graph: Graph) -> str:
    """The first thing that is in the way of its codes.

    Args:
        graph: as `prepare.prepare` leaves it, with layers that read real numbers.
    """
    weight = graph.constants[layer.inputs[1]]
    if weight.unfit:
        return weight.unfit
    reason = _input_reason(layer, graph)
    if not reason:
        reason = _output_reason(layer, graph)
    return reason or "its weight is not rounded"


def _input_reason(layer: Operator, graph: Graph) -> str:
    makers = {op.output: op for op in graph.operators}
    maker = makers.get(layer.inputs[0])
    while maker is not None and maker.kind in BEFORE:
        maker = makers.get(maker.inputs[0])
    if maker is None:
        is_rounded = any(graph.values[name].quantization for name in graph.inputs)
        return "" if is_rounded else "its input is not rounded"
    if maker.kind == "DequantizeLinear":
        return ""
    if maker.kind == "Mul" and _by_channel(maker, graph):
        shift = makers.get(maker.inputs[0])
        if shift is not None and shift.kind == "Sub" and _by_channel(shift, graph):
            return (
                "its input has a zero point for each channel, which are different codes to pad with"
            )
        return "its input has a scale for each channel, and it sums over those"
    return "its input is not rounded"


def _output_reason(layer: Operator, graph: Graph) -> str:
    name, clamp = layer.output, layer.clamp
    while True:
        readers = [op for op in graph.operators if name in op.inputs]
        if any(op.kind == "QuantizeLinear" for op in readers):
            if len(readers) == 1 and name not in graph.outputs:
                return ""
            return "its output is read both rounded and unrounded, or rounded in several ways"
        if len(readers) != 1 or name in graph.outputs or readers[0].kind not in BEHIND:
            break
        clamp, name = readers[0].clamp or clamp, readers[0].output
    divided = [op for op in readers if op.kind == "Div" and _by_channel(op, graph)]
    if not divided:
        return "its output is not rounded"
    if len(readers) > 1:
        return "its output is rounded with a scale for each channel, and read otherwise as well"
    clipped = "" if clamp is None else f", and clipped at {clamp[0]:g} and {clamp[1]:g}"
    return f"its output is rounded with a scale for each channel{clipped}"


def _by_channel(operator: Operator, graph: Graph) -> bool:
    stored = [graph.constants[name] for name in operator.inputs if name in graph.constants]
    return any(constant.data.size > 1 for constant in stored)
