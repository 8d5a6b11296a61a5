"""GELU as older exporters spell it: x · ½ · (1 + erf(x / √2)), five operators, becomes one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx
from onnx import numpy_helper

from edgeticket.pipeline.formats.onnx_model import constants_of


def fuse_gelu(graph: onnx.GraphProto) -> None:
    """Put a Gelu in the place of the last of the five, and leave out what nothing reads then."""
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    numbers = _numbers(graph)
    fused: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if node.op_type == "Erf":
            gelu = _gelu_around(node, numbers, makers, readers)
            if gelu is not None:
                fused[gelu.output[0]] = gelu
    if fused:
        nodes = [fused.get((*node.output, "")[0], node) for node in graph.node]
        needed = _needed(nodes, {value.name for value in graph.output})
        del graph.node[:]
        graph.node.extend(needed)


def _numbers(graph: onnx.GraphProto) -> dict[str, float]:
    """The constants that are one number."""
    return {
        name: float(numpy_helper.to_array(tensor).item())
        for name, tensor in constants_of(graph).items()
        if math.prod(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.FLOAT
    }


def _gelu_around(
    erf: onnx.NodeProto,
    numbers: Mapping[str, float],
    makers: dict[str, onnx.NodeProto],
    readers: dict[str, list[onnx.NodeProto]],
) -> onnx.NodeProto | None:
    """The Gelu that ``erf`` is part of."""

    def factor(node: onnx.NodeProto | None, operator: str, number: float) -> str | None:
        """The other input of ``node``, if it is that operator with that number."""
        if node is None or node.op_type != operator:
            return None
        for i, name in enumerate(node.input):
            if name in numbers and math.isclose(numbers[name], number, rel_tol=1e-5):
                return str(node.input[1 - i])
        return None

    def only_reader(name: str) -> onnx.NodeProto | None:
        return readers[name][0] if len(readers.get(name, [])) == 1 else None

    scaled = makers.get(erf.input[0])
    x = factor(scaled, "Div", math.sqrt(2)) or factor(scaled, "Mul", math.sqrt(0.5))
    more = only_reader(erf.output[0])
    if x is None or more is None or factor(more, "Add", 1.0) is None:
        return None
    product = only_reader(more.output[0])
    if product is None or product.op_type != "Mul":
        return None
    (other,) = [name for name in product.input if name != more.output[0]] or [""]
    if factor(makers.get(other), "Mul", 0.5) == x:  # (x · ½) · (1 + erf)
        last = product
    else:
        halved = only_reader(product.output[0])
        if other != x or halved is None or factor(halved, "Mul", 0.5) is None:
            return None
        last = halved
    return onnx.helper.make_node("Gelu", [x], [last.output[0]], name=last.name)


def _needed(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> tuple[onnx.NodeProto, ...]:
    """The nodes that ``outputs`` depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return tuple(reversed(kept))
