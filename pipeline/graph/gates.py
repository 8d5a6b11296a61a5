"""clip(x + 3, 0, 6) / 6, as many networks write it, is a HardSigmoid."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from edgeticket.pipeline.graph.affine import affine_of
from edgeticket.pipeline.graph.graph import Graph, Operator


def with_hard_sigmoids(graph: Graph) -> Graph:
    """The same function with a HardSigmoid where one is written out, also as x · clip(…) / 6."""
    work = _Gates(graph)
    for operator in graph.operators:
        if not work.take(operator):
            work.operators[operator.output] = operator
    return replace(graph, operators=tuple(work.operators.values()))


class _Gates:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operators: dict[str, Operator] = {}  # by output, in order
        self.readers = Counter(name for op in graph.operators for name in op.inputs)
        self.readers.update(graph.outputs)

    def take(self, operator: Operator) -> bool:
        """Write a HardSigmoid for the last operator of one -> whether it was that."""
        step = affine_of(operator, self.graph.values, self.graph.constants)
        if step is None or step.axis is not None or step.shift.any():
            return False
        if not np.allclose(step.factor, 1 / 6, rtol=1e-6) or self.readers[step.source] != 1:
            return False
        product = self.operators.get(step.source)
        if product is None:
            return False
        if product.kind != "Mul":
            return self._write(step.source, operator.output, operator)
        for other, name in (product.inputs, product.inputs[::-1]):
            gate = f"{operator.name}_gate"
            if self._write(name, name, replace(operator, name=gate)):
                del self.operators[step.source]
                self.operators[operator.output] = replace(
                    operator, kind="Mul", inputs=(other, name), attributes={}
                )
                return True
        return False

    def _write(self, clipped: str, output: str, operator: Operator) -> bool:
        clip = self.operators.get(clipped)
        if clip is None or clip.kind != "Clip" or clip.clamp != (0.0, 6.0):
            return False
        shifted = self.operators.get(clip.inputs[0])
        if shifted is None or {self.readers[clipped], self.readers[shifted.output]} != {1}:
            return False
        step = affine_of(shifted, self.graph.values, self.graph.constants)
        if step is None or step.axis is not None:
            return False
        if step.factor.item() != 1 or step.shift.item() != 3:
            return False
        del self.operators[shifted.output], self.operators[clipped]
        self.operators[output] = Operator(
            operator.name, "HardSigmoid", (step.source,), output, {}, None, operator.origin
        )
        return True
