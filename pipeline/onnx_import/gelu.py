"""GELU as older exporters spell it: x · ½ · (1 + erf(x / √2)), five operators, becomes one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from edgeticket.pipeline.onnx_import.source import Source


def fuse_gelu(source: Source) -> tuple[onnx.NodeProto, ...]:
    """The nodes of ``source`` with a Gelu in the place of the last of the five."""
    makers = {name: node for node in source.nodes for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in source.nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, onnx.NodeProto] = {}
    for node in source.nodes:
        if node.op_type == "Erf":
            gelu = _gelu_around(node, source, makers, readers)
            if gelu is not None:
                found[gelu.output[0]] = gelu
    nodes = [found.get(node.output[0], node) for node in source.nodes]
    return _needed(nodes, source.output)


def _gelu_around(
    erf: onnx.NodeProto,
    source: Source,
    makers: dict[str, onnx.NodeProto],
    readers: dict[str, list[onnx.NodeProto]],
) -> onnx.NodeProto | None:
    """The Gelu that ``erf`` is part of."""

    def factor(node: onnx.NodeProto | None, operator: str, number: float) -> str | None:
        """The other input of ``node``, if it is that operator with that number."""
        if node is None or node.op_type != operator:
            return None
        for i, name in enumerate(node.input):
            array = source.constants.get(name)
            if array is not None and array.size == 1 and np.isclose(array.item(), number):
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


def _needed(nodes: Sequence[onnx.NodeProto], output: str) -> tuple[onnx.NodeProto, ...]:
    """The nodes that ``output`` depends on, in order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return tuple(reversed(kept))
