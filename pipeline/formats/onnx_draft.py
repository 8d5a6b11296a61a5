"""Nodes and tensors of an ONNX file that is being written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeticket.pipeline.graph.graph import Array, Graph, Operator, Quantization, integer_bias


class OnnxDraft:
    """unsigned: activations are uint8 codes, the int8 codes + 128.

    explicit: stored codes are written as float32 numbers that Q/DQ round, biases as float32.
    """

    def __init__(self, graph: Graph, *, unsigned: bool, explicit: bool = False) -> None:
        self.graph, self.explicit = graph, explicit
        self.shift = 128 if unsigned else 0
        self.code_dtype = np.dtype(np.uint8 if unsigned else np.int8)
        self.code_type = TensorProto.UINT8 if unsigned else TensorProto.INT8
        self.step = ""  # whose first node is still to be written
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self._readers = Counter(name for op in graph.operators for name in op.inputs)
        self._equal: dict[tuple[str, bytes], str] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        attributes: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Append a node of one output, and return the name of that.

        The first that computes for a step has its name, the others have none.
        """
        name = None
        if kind not in ("QuantizeLinear", "DequantizeLinear"):
            name, self.step = self.step or None, ""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def tensor(self, name: str, data: Array) -> str:
        """Store a constant, and return its name."""
        self.tensors[name] = numpy_helper.from_array(np.asarray(data, order="C"), name)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """Store int64 numbers (a shape, axes, ends of a slice) under a name made from them."""
        return self.tensor(f"int64.{'_'.join(map(str, values))}", np.array(values, np.int64))

    def quantized(self, real: str, quantization: Quantization, output: str) -> None:
        """Round real numbers to codes."""
        self.node("QuantizeLinear", [real, *self._scales(quantization)], output)

    def dequantized(self, codes: str, quantization: Quantization, output: str) -> str:
        """Turn codes into real numbers."""
        return self.node("DequantizeLinear", [codes, *self._scales(quantization)], output)

    def real(self, operator: Operator, index: int) -> str:
        """The name of input ``index`` of an operator as real numbers."""
        name, real = operator.inputs[index], f"{operator.name}.in{index}"
        if not name:
            return name
        if name in self.graph.values:
            quantization = self.graph.values[name].quantization
            if quantization is None:
                return name
            # One for each reader: the runtime fuses only those that nothing else reads.
            return self.dequantized(name, quantization, real)
        constant = self.graph.constants[name]
        layer = operator.kind in ("Conv", "Gemm")
        coded = layer and self.graph.constants[operator.inputs[1]].scale is not None
        if coded and index == 2 and not self.explicit:
            return self.bias(operator)
        if layer:
            own = f"{operator.name}.{('weight', 'bias')[index - 1]}"
            name = own if self._readers[name] < 2 else name
        if constant.scale is None:
            return self.tensor(name, constant.data)
        if self.explicit:
            return self._rounded_constant(name, constant.data, constant.scale, real)
        codes = self.tensor(name, constant.data)
        return self._dequantized_constant(codes, constant.data, constant.scale, real)

    def bias(self, operator: Operator) -> str:
        """The bias of a quantised layer, zeros if it has none."""
        codes, scale = integer_bias(operator, self.graph)
        name = self._once(f"{operator.name}.bias", codes)
        return self._dequantized_constant(name, codes, scale, f"{operator.name}.bias")

    def clip(self, source: str, clamp: tuple[float, float], output: str) -> None:
        """Clip real numbers."""
        if clamp == (0.0, math.inf):
            self.node("Relu", [source], output)
        else:
            self.node("Clip", [source, *(self._bound(bound) for bound in clamp)], output)

    def clip_codes(
        self, source: str, clamp: tuple[float, float], quantization: Quantization, output: str
    ) -> None:
        """Clip codes: rounding is monotonic, so it may come before clipping."""
        self.node("Clip", [source, *map(self.code, quantization.bounds(clamp))], output)

    def code(self, code: int) -> str:
        """Store a code, given as −128..127."""
        code += self.shift
        return self.tensor(f"code.{code}", np.array(code, self.code_dtype))

    def shorten(self) -> None:
        """Number the names of pieces: in a small network's file they would be a third.

        Pieces have a dot in their names. Those of values that layers hand on have none and stay, as
        do ``conv1.weight`` and ``conv1.bias``.
        """
        short: dict[str, str] = {}

        def shortened(name: str) -> str:
            if "." not in name or name.endswith((".weight", ".bias")):
                return name
            return short.setdefault(name, f".{len(short):x}")

        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [shortened(name) for name in names]
        for tensor in self.tensors.values():
            tensor.name = shortened(tensor.name)

    def _once(self, name: str, data: Array) -> str:
        """Store a constant, or let an equal one stand for it."""
        known = self._equal.setdefault((str(data.dtype), data.tobytes()), name)
        return known if known in self.tensors else self.tensor(known, data)

    def _rounded_constant(self, name: str, codes: Array, scale: Array, label: str) -> str:
        """Float32 numbers that Q/DQ leave as they are: older parsers take no stored codes.

        TensorRT has no weight code −128; where there is one, its channel's scale grows.
        """
        lowest = codes.reshape(len(codes), -1).min(1)
        wide = np.where(lowest < -127, scale * np.float32(128 / 127), scale).astype(np.float32)
        column = (-1, *[1] * (codes.ndim - 1))
        source = self.tensor(name, codes.astype(np.float32) * scale.reshape(column))
        zeros = np.zeros(len(scale), np.int8)
        numbers = [
            self._once(f"{label}.scale", wide),
            self.tensor(f"zeros.{zeros.dtype}.{len(zeros)}", zeros),
        ]
        rounded = self.node("QuantizeLinear", [source, *numbers], f"{label}.codes", {"axis": 0})
        return self.node("DequantizeLinear", [rounded, *numbers], f"{label}.real", {"axis": 0})

    def _dequantized_constant(self, name: str, codes: Array, scale: Array, label: str) -> str:
        """Stored codes with a scale for each index of axis 0 as real numbers."""
        zeros = np.zeros(len(scale), codes.dtype)  # without them the runtime fuses no Gemm
        sources = [
            name,
            self._once(f"{label}.scale", scale),
            self.tensor(f"zeros.{zeros.dtype}.{len(zeros)}", zeros),
        ]
        return self.node("DequantizeLinear", sources, f"{label}.real", {"axis": 0})

    def _scales(self, quantization: Quantization) -> list[str]:
        scale = self.tensor(f"scale.{quantization.scale!s}", np.asarray(quantization.scale))
        return [scale, self.code(quantization.zero_point)]

    def _bound(self, bound: float) -> str:
        if math.isinf(bound):
            return ""
        return self.tensor(f"bound.{bound}", np.asarray(bound, np.float32))
