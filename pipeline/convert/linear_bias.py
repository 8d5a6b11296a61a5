"""Linear layers on more than two axes come as a product and an addition; here they become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from edgeticket.pipeline.graph.graph import Graph, Operator


def fuse_biases(
    operators: Iterable[Operator], graph: Graph, also_read: Iterable[str]
) -> list[Operator]:
    """Give a Gemm without a bias the constant that is added to it, where nothing else reads it.

    Args:
        also_read: values that are needed although no operator reads them.
    """
    operators = list(operators)
    readers = Counter(name for op in operators for name in op.inputs)
    readers.update(also_read)
    fused: dict[str, Operator] = {}  # by output, in order
    for op in operators:
        layer = fused.get(op.inputs[0])
        bias = graph.constants.get(op.inputs[1]) if op.kind == "Add" else None
        if (
            bias is not None
            and layer is not None
            and layer.kind == "Gemm"
            and len(layer.inputs) == 2
            and readers[layer.output] == 1
            and bias.data.shape == graph.values[op.output].shape[-1:]
        ):
            del fused[layer.output]
            op = replace(
                layer, name=op.name, inputs=(*layer.inputs, op.inputs[1]), output=op.output
            )
        fused[op.output] = op
    return list(fused.values())
