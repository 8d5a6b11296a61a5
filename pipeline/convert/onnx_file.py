"""`Graph` -> ONNX bytes for ONNX Runtime, in float32 or in int8.

The int8 form is ONNX's own: each operator between DequantizeLinear and QuantizeLinear, which the
runtime fuses into one integer kernel. Input and output are codes; whoever calls does the rounding
(`device_runner.preprocess.to_tensor`). On x86 the runtime has fast kernels for uint8 activations
only, on ARM for int8, so both can be written: uint8 codes are the int8 codes + 128.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.convert.graph import (
    IR_VERSION,
    OPSET,
    Array,
    Graph,
    Operator,
    Quantization,
    integer_bias,
)


def write_onnx(graph: Graph, *, unsigned: bool = False) -> bytes:
    """The same graph always gives the same bytes.

    Args:
        unsigned: uint8 instead of int8 codes for the activations of a quantised graph.
    """
    draft = _Draft(graph, unsigned)
    for operator in graph.operators:
        draft.add(operator)
    kind = draft.code_type if graph.is_quantized() else TensorProto.FLOAT
    ends = [
        helper.make_tensor_value_info(name, kind, graph.values[name].shape)
        for name in (graph.input, graph.output)
    ]
    body = helper.make_graph(
        draft.nodes, "network", ends[:1], ends[1:], list(draft.tensors.values())
    )
    model = helper.make_model(
        body,
        producer_name="edgeticket",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Draft:
    """Nodes and tensors of the file that is being written."""

    def __init__(self, graph: Graph, unsigned: bool) -> None:
        self.graph = graph
        self.shift = 128 if unsigned else 0
        self.code_dtype = np.dtype(np.uint8 if unsigned else np.int8)
        self.code_type = TensorProto.UINT8 if unsigned else TensorProto.INT8
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def add(self, operator: Operator) -> None:
        """Write one operator: dequantised inputs, the operator itself, its quantised output."""
        graph = self.graph
        quantization = graph.values[operator.output].quantization
        inputs = [self._real(operator, i) for i in range(len(operator.inputs))]
        if operator.kind in ("Conv", "Gemm") and quantization and len(inputs) < 3:
            inputs.append(self._bias(operator))
        real = operator.output if quantization is None else f"{operator.output}.real"
        self._write_real(operator, inputs, real)
        if quantization is not None:
            scales = self._scales(quantization)
            self._node("QuantizeLinear", [real, *scales], operator.output)

    def _write_real(self, operator: Operator, inputs: list[str], output: str) -> None:
        clamp = operator.clamp
        flattened = operator.kind == "GlobalAveragePool" and (
            len(self.graph.values[operator.output].shape) == 2
        )
        steps = [operator.kind] if operator.kind != "Clip" else []
        steps += ["Flatten"] * flattened
        if clamp is not None:
            steps.append("Relu" if clamp == (0.0, math.inf) else "Clip")
        for i, kind in enumerate(steps):
            target = output if i == len(steps) - 1 else f"{operator.output}.{kind.lower()}"
            attributes = operator.attributes if i == 0 else {}
            if kind == "Clip":
                assert clamp is not None
                inputs = [*inputs, *(self._bound(bound) for bound in clamp)]
            self._node(kind, inputs, target, attributes)
            inputs = [target]

    def _real(self, operator: Operator, index: int) -> str:
        """The name of input ``index`` as real numbers."""
        name, real = operator.inputs[index], f"{operator.name}.in{index}"
        if name in self.graph.values:
            quantization = self.graph.values[name].quantization
            if quantization is None:
                return name
            # One for each reader: the runtime fuses only those that nothing else reads.
            return self._node("DequantizeLinear", [name, *self._scales(quantization)], real)
        constant = self.graph.constants[name]
        layer = operator.kind in ("Conv", "Gemm")
        if layer and index == 2 and self.graph.is_quantized():
            return self._bias(operator)
        if layer:
            name = f"{operator.name}.{('weight', 'bias')[index - 1]}"
        if constant.scale is None:
            return self._tensor(name, constant.data)
        return self._dequantized(name, constant.data, constant.scale)

    def _bias(self, operator: Operator) -> str:
        codes, scale = integer_bias(operator, self.graph)
        return self._dequantized(f"{operator.name}.bias", codes, scale)

    def _dequantized(self, name: str, codes: Array, scale: Array) -> str:
        """Constant codes with a scale for each index of axis 0 as real numbers."""
        zeros = np.zeros(len(scale), codes.dtype)  # without them the runtime fuses no Gemm
        sources = [
            self._tensor(name, codes),
            self._tensor(f"{name}.scale", scale),
            self._tensor(f"zeros.{zeros.dtype}.{len(zeros)}", zeros),
        ]
        return self._node("DequantizeLinear", sources, f"{name}.real", {"axis": 0})

    def _scales(self, quantization: Quantization) -> list[str]:
        scale, code = quantization.scale, quantization.zero_point + self.shift
        return [
            self._tensor(f"scale.{scale!s}", np.asarray(scale)),
            self._tensor(f"zero_point.{code}", np.asarray(code, self.code_dtype)),
        ]

    def _bound(self, bound: float) -> str:
        if math.isinf(bound):
            return ""
        return self._tensor(f"bound.{bound}", np.asarray(bound, np.float32))

    def _tensor(self, name: str, data: Array) -> str:
        self.tensors[name] = numpy_helper.from_array(np.asarray(data, order="C"), name)
        return name

    def _node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        attributes: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        node = helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output
