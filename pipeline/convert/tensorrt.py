"""A rounded graph -> one whose Q/DQ stand where TensorRT fuses them, with zero points of 0.

The rules are those of NVIDIA's developer guide (explicit quantisation: Q/DQ placement
recommendations) and of its ONNX parser, which takes int8 with zero points of 0 only:
- all that a layer with rounded weights multiplies is rounded in front of it, and its weights;
- what it makes is not: a bias, an addition, a norm or an activation behind it then fuses with it;
- of an addition the other input is rounded, so that layer, addition and activation are one kernel
  that writes int8; without a layer before it, all inputs;
- a pool that averages is rounded where what reads it is;
- numbers that only move have no Q/DQ: TensorRT moves those of their readers across;
- biases, functions, and the ends of the network are float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgeticket.pipeline.convert.prepare import prepare_real
from edgeticket.pipeline.graph.graph import (
    HIGHEST,
    LOWEST,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
)
from edgeticket.pipeline.operators import KINDS

LAYERS = frozenset({"Conv", "Gemm"})
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool"})
# What makes no negative numbers, whatever it reads.
POSITIVE = frozenset({"Complement", "HardSigmoid", "Sigmoid", "Softmax"})


def place_explicitly(graph: Graph) -> Graph:
    """Insert Q/DQ by TensorRT's rules; every other value is float32.

    Scales are those of the rounded graph, made symmetric: what could be told apart by 256 codes of
    a range without negative numbers has 128 of them.
    """
    scales = {
        name: symmetric(value.quantization)
        for name, value in graph.values.items()
        if value.quantization is not None
    }
    work = _Placing(prepare_real(_with_relus(graph)), scales)
    for operator in work.graph.operators:
        work.take(operator)
    return work.finish()


def symmetric(quantization: Quantization) -> Quantization:
    """The smallest scale with zero point 0 that reaches as far to either side."""
    scale, zero_point = float(quantization.scale), quantization.zero_point
    if zero_point == 0:
        return quantization
    reach = max((HIGHEST - zero_point) / HIGHEST, (LOWEST - zero_point) / LOWEST)
    return Quantization(np.float32(scale * reach), 0)


def _with_relus(graph: Graph) -> Graph:
    """Write the ReLU that saturation did: codes from 0 on have negative ones now."""
    makers = {operator.output: operator for operator in graph.operators}

    def is_positive(name: str) -> bool:
        maker = makers.get(name)
        if maker is None:  # an input of the network, or a constant
            return True
        if maker.clamp is not None:
            return maker.clamp[0] >= 0
        if KINDS[maker.kind].keeps_codes:
            return all(is_positive(source) for source in maker.inputs if source)
        return maker.kind in POSITIVE

    values, operators = dict(graph.values), []
    for operator in graph.operators:
        value = graph.values[operator.output]
        positive = value.quantization is not None and value.quantization.zero_point == LOWEST
        if not positive or is_positive(value.name) or KINDS[operator.kind].crosses:
            operators.append(operator)
            continue
        free = replace(value, name=f"{value.name}.signed", quantization=None)
        values[free.name] = free
        clip = Operator(f"{operator.name}.relu", "Clip", (free.name,), value.name)
        operators += [replace(operator, output=free.name), replace(clip, clamp=(0.0, math.inf))]
    return replace(graph, operators=tuple(operators), values=values)


class _Placing:
    """Operators so far, of a graph without Q/DQ."""

    def __init__(self, graph: Graph, scales: Mapping[str, Quantization]) -> None:
        self.graph, self.scales = graph, scales
        self.makers = {operator.output: operator for operator in graph.operators}
        self.order = {operator.output: i for i, operator in enumerate(graph.operators)}
        self.readers: dict[str, list[Operator]] = {}
        for operator in graph.operators:
            for name in operator.inputs:
                self.readers.setdefault(name, []).append(operator)
        self.read_rounded: dict[str, bool] = {}
        self.values, self.constants = dict(graph.values), dict(graph.constants)
        self.operators: list[Operator] = []

    def take(self, operator: Operator) -> None:
        """Append an operator with Q/DQ in front of it."""
        inputs = list(operator.inputs)
        for index in self._rounded_inputs(operator):
            inputs[index] = self._pair(operator, index)
        if operator.kind in LAYERS and not self._is_rounded_layer(operator):
            inputs[1] = self._real(inputs[1])
        if operator.kind == "QuantizeLinear":  # a value that is rounded twice
            self._crossing(operator)
        else:
            self.operators.append(replace(operator, inputs=tuple(inputs)))

    def finish(self) -> Graph:
        """The graph with what it needs."""
        used = {name for operator in self.operators for name in operator.inputs}
        constants = {name: c for name, c in self.constants.items() if name in used}
        return replace(
            self.graph, operators=tuple(self.operators), values=self.values, constants=constants
        )

    def _rounded_inputs(self, operator: Operator) -> tuple[int, ...]:
        """Which inputs are to be rounded."""
        if operator.kind in LAYERS:
            return (0,) if self._is_rounded_layer(operator) else ()
        if any(name not in self.values for name in operator.inputs):
            return ()
        if operator.kind == "MatMul":
            return (0, 1) if all(map(self._scale, operator.inputs)) else ()
        if operator.kind in AVERAGES:
            known = self._scale(operator.inputs[0]) is not None
            return (0,) if known and self._is_read_rounded(operator.output) else ()
        if operator.kind == "Add" and self._is_read_rounded(operator.output):
            return self._of_addition(operator)
        return ()

    def _of_addition(self, operator: Operator) -> tuple[int, ...]:
        """Both but what a layer makes for the addition alone; of two layers the later one's."""
        fusible = [i for i, name in enumerate(operator.inputs) if self._is_alone(name)]
        fusible.sort(key=lambda i: self.order[operator.inputs[i]])
        rest = tuple(i for i in range(2) if i not in fusible[-1:])
        return rest if all(self._scale(operator.inputs[i]) for i in rest) else ()

    def _is_alone(self, name: str) -> bool:
        """Whether a rounded layer makes it, unclipped, and one operator reads it."""
        maker = self.makers.get(name)
        return (
            maker is not None
            and maker.kind in LAYERS
            and maker.clamp is None
            and self._is_rounded_layer(maker)
            and len(self.readers[name]) == 1
            and name not in self.graph.outputs
        )

    def _is_rounded_layer(self, layer: Operator) -> bool:
        coded = self.graph.constants[layer.inputs[1]].scale is not None
        return coded and self._scale(layer.inputs[0]) is not None

    def _is_read_rounded(self, name: str) -> bool:
        """Whether any that reads a value rounds it, maybe after moving its numbers."""
        if name not in self.read_rounded:
            self.read_rounded[name] = self._find_rounded_reader(name)
        return self.read_rounded[name]

    def _find_rounded_reader(self, name: str) -> bool:
        for reader in self.readers.get(name, ()):
            if KINDS[reader.kind].keeps_codes or reader.kind in AVERAGES or reader.kind == "Add":
                if self._is_read_rounded(reader.output):
                    return True
            elif reader.kind == "MatMul" or reader.kind in LAYERS:
                index = reader.inputs.index(name)
                if index in self._rounded_inputs(reader):
                    return True
        return False

    def _scale(self, name: str) -> Quantization | None:
        """Of a value, or of that whose numbers it has."""
        if name in self.scales:
            return self.scales[name]
        maker = self.makers.get(name)
        if maker is None or not KINDS[maker.kind].keeps_codes:
            return None
        found = {self._scale(source) for source in maker.inputs if source in self.values}
        return found.pop() if len(found) == 1 else None

    def _pair(self, operator: Operator, index: int) -> str:
        """Q once for each value, DQ for each that reads it -> the name of the latter's result."""
        name = operator.inputs[index]
        codes, real = f"{name}.codes", f"{operator.name}.in{index}"
        if codes not in self.values:
            scale = self._scale(name)
            self.values[codes] = replace(self.values[name], name=codes, quantization=scale)
            self.operators.append(Operator(f"{name}.q", "QuantizeLinear", (name,), codes))
        self.values[real] = replace(self.values[name], name=real)
        self.operators.append(Operator(f"{real}.dq", "DequantizeLinear", (codes,), real))
        return real

    def _crossing(self, operator: Operator) -> None:
        codes = f"{operator.output}.codes"
        value: Value = self.values[operator.output]
        self.values[codes] = replace(value, name=codes, quantization=self.scales[value.name])
        self.operators += [
            replace(operator, output=codes),
            Operator(f"{codes}.dq", "DequantizeLinear", (codes,), value.name),
        ]

    def _real(self, name: str) -> str:
        """A constant as float32."""
        constant = self.constants[name]
        if constant.scale is None:
            return name
        column = constant.scale.reshape(-1, *[1] * (constant.data.ndim - 1))
        self.constants[f"{name}.real"] = Constant(constant.data.astype(np.float32) * column)
        return f"{name}.real"
