"""What an ONNX file stores and multiplies, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, inliner

from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.external.layers import Count, FileLayer, total
from edgeticket.pipeline.external.onnx_operators import (
    HANDING_ON,
    INTEGERS,
    PACKED,
    SETTINGS,
    is_known,
    multiply,
)
from edgeticket.pipeline.external.onnx_shapes import Shapes, find_shapes

REALS = frozenset(
    code
    for name, code in TensorProto.DataType.items()
    if name.startswith(("FLOAT", "BFLOAT", "DOUBLE"))
)


@dataclass
class _Stored:
    """A constant of the file; ``is_weight``: real numbers, or codes that are read as such."""

    size: int
    is_weight: bool
    is_counted: bool = False
    is_read: bool = False


Scope = dict[str, _Stored]
"""What names stand for; that of a branch knows those around it."""


def onnx_layers(model: onnx.ModelProto) -> tuple[FileLayer, ...]:
    """Stored weights, each once, and multiply-accumulates; of one example where the batch is open.

    Weights are what layers multiply, add and look up. Scales, zero points, shapes, limits and the
    statistics of batch norms are not.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    return tuple(_layers(model.graph, find_shapes(model), {}, None))


def _layers(
    graph: onnx.GraphProto, shapes: Shapes, scope: Scope, unknown: Unavailable | None
) -> Iterator[FileLayer]:
    here = {tensor.name: _keep(tensor) for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        here[sparse.values.name] = _keep(sparse.values, math.prod(sparse.dims))
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            here[node.output[0]] = _constant(node)
    scope |= here
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        stored = _stored(node, scope)
        macs: Count = multiply(node, shapes)
        if macs and unknown is not None:
            macs = unknown
        if stored or macs:
            yield FileLayer(node.name or _output(node), node.op_type, stored, macs)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    reason = f"it is part of {node.op_type}, and nobody knows how often it runs"
                    yield from _layers(body, shapes, dict(scope), Unavailable(reason))
    for name, kept in here.items():
        if kept.is_weight and kept.size and not kept.is_read:
            yield FileLayer(name, "(read by nothing here)", kept.size, 0)


def _keep(tensor: TensorProto, size: int | None = None) -> _Stored:
    """``size``: of a sparse tensor with its zeros."""
    if size is None:
        size = math.prod(tensor.dims) if tensor.dims else 0  # a single number is a setting
    return _Stored(size, tensor.data_type in REALS)


def _constant(node: onnx.NodeProto) -> _Stored:
    for attribute in node.attribute:
        if attribute.name == "value":
            return _keep(attribute.t)
        if attribute.name == "sparse_value":
            sparse = attribute.sparse_tensor
            return _keep(sparse.values, math.prod(sparse.dims))
        if attribute.name == "value_floats":
            return _Stored(len(attribute.floats), is_weight=True)
    return _Stored(0, is_weight=False)


def _stored(node: onnx.NodeProto, scope: Scope) -> Count:
    """Numbers that this operator is the first to read as weights."""
    settings, integers = SETTINGS.get(node.op_type, ()), INTEGERS.get(node.op_type, ())
    for name in node.input:
        if name in scope:
            scope[name].is_read = True
    passed = scope.get(node.input[0]) if node.op_type in HANDING_ON and node.input else None
    if passed is not None and node.output:
        passed.is_weight |= 0 in integers
        scope[node.output[0]] = passed
        return 0
    numbers: Count = 0
    for position, name in enumerate(node.input):
        kept = scope.get(name)
        if kept is None or position in settings or kept.is_counted or not kept.size:
            continue
        if kept.is_weight or position in integers:
            kept.is_counted = True
            packed = PACKED.get((node.op_type, position))
            numbers = total((numbers, packed(node) if packed else kept.size))
        elif not is_known(node):
            kept.is_counted = True
            reason = f"{node.op_type} of {node.domain} stores them in a way of its own"
            numbers = Unavailable(reason)
    return numbers


def _output(node: onnx.NodeProto) -> str:
    return next((name for name in node.output if name), "")
