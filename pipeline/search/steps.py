"""A graph that is ready to be written -> its steps: what a runtime executes as one.

A step is the unit whose time is measured. It is cut out of the graph as the files have it, so
whatever the writers fuse (clamps, biases, rounding) is in it. On top of that comes what a runtime
fuses by itself (`FUSED`). Two steps with one key take the same time: their operators, shapes,
attributes, types and constants are alike, only their numbers differ.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.graph import (
    Array,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
)
from edgeticket.pipeline.operators import KINDS

LAYERS = ("Conv", "Gemm")
KEPT_NUMBERS = 1  # stored float32 tensors of so many numbers are settings, not weights
SCALE = np.float32(2.0**-5)  # of codes in a probe: their time does not depend on it
WEIGHT_SCALE = np.float32(2.0**-8)


@dataclass(frozen=True)
class Step:
    """Operators that run as one.

    graph: them alone, with plain names and drawn numbers, ready to be written; equal for steps
        that cost the same.
    key: a digest of ``graph``.
    """

    name: str  # of its first operator that computes, as the network has it
    origin: str  # path of the module that it was, "" where unknown
    kinds: tuple[str, ...]
    graph: Graph
    key: str

    @property
    def kind(self) -> str:
        """For people."""
        return "+".join(self.kinds)

    @property
    def channels(self) -> tuple[int, int]:
        """Of its first input and of its output; 1 where there is no such axis."""
        sources = [self.graph.values[name].shape for name in self.graph.inputs]
        shapes = (sources[0] if sources else (1,), self.graph.values[self.graph.outputs[0]].shape)
        first, last = (shape[1] if len(shape) > 1 else 1 for shape in shapes)
        return first, last

    @property
    def precision(self) -> str:
        """int8 where it computes on codes, else fp32."""
        rounded = self.graph.values[self.graph.outputs[0]].quantization is not None
        return "int8" if rounded and not any(KINDS[k].crosses for k in self.kinds) else "fp32"

    @property
    def weight_bytes(self) -> int:
        """What it reads of stored numbers each time."""
        return sum(constant.data.nbytes for constant in self.graph.constants.values())

    @property
    def repeats(self) -> bool:
        """Whether its output can be its first input: then it can be run several times in a row."""
        if len(self.graph.outputs) != 1 or not self.graph.inputs:
            return False
        first, last = (
            self.graph.values[name] for name in (self.graph.inputs[0], self.graph.outputs[0])
        )
        return replace(first, name="") == replace(last, name="")


def steps_of(graph: Graph, *, runtime: str) -> tuple[Step, ...]:
    """The steps of a graph, in order of execution.

    Args:
        graph: as `convert.prepare.prepare` left it.
        runtime: a key of `device_runner.runtimes.RUNTIMES`, which decides what is fused.
    """
    parts = [[operator] for operator in graph.operators]
    for rule in FUSED.get(runtime, ()):
        parts = rule(parts, graph)
    used = Counter(name for part in parts for name in _read(part, graph))
    used.update(graph.outputs)
    return tuple(_step(part, graph, used) for part in parts)


def _read(part: Sequence[Operator], graph: Graph) -> list[str]:
    """The values that a part reads from outside, each once, in order."""
    made = {operator.output for operator in part}
    names = [name for operator in part for name in operator.inputs]
    return list(dict.fromkeys(n for n in names if n in graph.values and n not in made))


def _step(part: Sequence[Operator], graph: Graph, used: Mapping[str, int]) -> Step:
    inputs = _read(part, graph)
    outputs = [operator.output for operator in part if used[operator.output]]
    names = {name: f"x{i}" for i, name in enumerate(inputs)}
    operators: list[Operator] = []
    constants: dict[str, Constant] = {}
    for number, operator in enumerate(part):
        for name in operator.inputs:
            if name and name not in names:
                names[name] = f"w{len(constants)}"
                constants[names[name]] = _drawn(
                    graph.constants[name], is_weight=operator.kind in LAYERS
                )
        names[operator.output] = f"y{number}"
        operators.append(
            replace(
                operator,
                name=f"s{number}",
                inputs=tuple(names.get(name, "") for name in operator.inputs),
                output=names[operator.output],
                origin=(),
            )
        )
    flowing = [*inputs, *(operator.output for operator in part)]
    values = {names[name]: _plain(graph.values[name], names[name]) for name in flowing}
    values = _with_fixed_scales(operators, values)
    alone = Graph(
        tuple(names[name] for name in inputs),
        tuple(names[name] for name in outputs or [part[-1].output]),
        tuple(operators),
        values,
        constants,
    )
    first = next((op for op in part if not KINDS[op.kind].crosses), part[0])
    return Step(
        name=first.name,
        origin=next(iter(first.origin), ""),
        kinds=tuple(operator.kind for operator in part),
        graph=alone,
        key=_key(alone),
    )


def _plain(value: Value, name: str) -> Value:
    """The same tensor with a scale that all codes share."""
    quantization = None if value.quantization is None else Quantization(SCALE, 0)
    return replace(value, name=name, quantization=quantization)


def _with_fixed_scales(
    operators: Sequence[Operator], values: Mapping[str, Value]
) -> dict[str, Value]:
    """The scale that integer kernels of an operator insist on, where they do."""
    settled = dict(values)
    for operator in operators:
        fixed = KINDS[operator.kind].fixed
        output = settled[operator.output]
        if fixed is not None and output.quantization is not None:
            scale, zero_point = fixed
            quantization = Quantization(np.float32(scale), zero_point)
            settled[operator.output] = replace(output, quantization=quantization)
    return settled


def _drawn(constant: Constant, *, is_weight: bool) -> Constant:
    """Numbers of the same shape and type that depend on nothing else.

    What is no float32, or a single number, says how an operator works: it stays.
    """
    data = constant.data
    generator = np.random.default_rng(list(data.shape))
    if constant.scale is not None:
        codes = generator.integers(-127, 128, data.shape).astype(np.int8)
        return Constant(codes, np.full(constant.scale.shape, WEIGHT_SCALE))
    if data.dtype != np.float32 or data.size <= KEPT_NUMBERS:
        return constant
    if is_weight and data.ndim > 1:
        spread = math.sqrt(2 / max(1, math.prod(data.shape[1:])))
        return Constant(generator.normal(0, spread, data.shape).astype(np.float32))
    # Biases and factors: neither zero nor so large that chains of steps leave all bounds.
    return Constant(generator.uniform(0.01, 1, data.shape).astype(np.float32))


def _key(graph: Graph) -> str:
    """A digest of all that a step is."""

    def constant(stored: Constant) -> list[Any]:
        scale = "" if stored.scale is None else stored.scale.tobytes().hex()
        data: Array = np.ascontiguousarray(stored.data)
        return [list(data.shape), str(data.dtype), sha256(data.tobytes()).hexdigest(), scale]

    def value(flowing: Value) -> list[Any]:
        q = flowing.quantization
        rounding = None if q is None else [float(q.scale), q.zero_point]
        return [list(flowing.shape), flowing.dtype, rounding]

    document = [
        [graph.inputs, graph.outputs],
        [
            [op.kind, op.inputs, op.output, _attributes(op), op.clamp and list(map(repr, op.clamp))]
            for op in graph.operators
        ],
        {name: value(flowing) for name, flowing in graph.values.items()},
        {name: constant(stored) for name, stored in graph.constants.items()},
    ]
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _attributes(operator: Operator) -> list[str]:
    return [f"{name}={value!r}" for name, value in sorted(operator.attributes.items())]


def repeated(step: Step, times: int) -> Graph:
    """The step ``times`` in a row, each reading what the last one gave.

    Raises:
        ValueError: its output cannot be its input.
    """
    if times == 1:
        return step.graph
    if not step.repeats:
        raise ValueError(f"{step.name} gives other tensors than it takes")
    graph = step.graph
    first, last = graph.inputs[0], graph.outputs[0]
    operators: list[Operator] = []
    values = {name: graph.values[name] for name in graph.inputs}
    source = first
    for turn in range(times):
        names = {operator.output: f"{operator.output}_{turn}" for operator in graph.operators}
        for operator in graph.operators:
            inputs = (
                source if name == first else names.get(name, name) for name in operator.inputs
            )
            made = names[operator.output]
            operators.append(
                replace(operator, name=f"{operator.name}_{turn}", inputs=tuple(inputs), output=made)
            )
            values[made] = replace(graph.values[operator.output], name=made)
        source = names[last]
    return replace(graph, operators=tuple(operators), values=values, outputs=(source,))


def _convolution_and_sum(parts: list[list[Operator]], graph: Graph) -> list[list[Operator]]:
    """ONNX Runtime adds to what a float convolution gives within the convolution's kernel.

    It takes a convolution whose output nothing else reads, and which clips nothing by itself.
    """
    readers = Counter(name for part in parts for op in part for name in op.inputs)
    readers.update(graph.outputs)
    makers = {part[-1].output: part for part in parts}
    result = list(parts)
    for part in parts:
        add = part[0]
        if len(part) > 1 or add.kind != "Add" or graph.values[add.output].quantization:
            continue
        for name in reversed(add.inputs):
            maker = makers.get(name)
            if maker is None or len(maker) > 1 or maker[0].kind != "Conv" or readers[name] != 1:
                continue
            same = all(
                graph.values[n].shape == graph.values[add.output].shape
                for n in add.inputs
                if n in graph.values
            )
            stored = any(n not in graph.values for n in add.inputs)
            if maker[0].clamp is None and same and not stored and any(p is maker for p in result):
                result = [p for p in result if p is not maker]
                at = next(i for i, p in enumerate(result) if p is part)
                result[at] = [maker[0], add]
                break
    return result


def _between_codes(parts: list[list[Operator]], graph: Graph) -> list[list[Operator]]:
    """What is computed in float32 between codes goes with the conversions around it.

    No runtime makes one kernel of them; but how a conversion is done depends on the layout that it
    meets, and its neighbour decides that.
    """
    readers = Counter(name for op in graph.operators for name in op.inputs)
    readers.update(graph.outputs)
    result: list[list[Operator]] = []
    for part in parts:
        joined = list(part)
        for earlier in list(result):
            output = earlier[-1].output
            meets = earlier[-1].kind == "DequantizeLinear" or part[0].kind == "QuantizeLinear"
            reads = any(output in op.inputs for op in part)
            if meets and reads and readers[output] == 1:
                result = [one for one in result if one is not earlier]
                joined = [*earlier, *joined]
        result.append(joined)
    return result


Fusion = Callable[[list[list[Operator]], Graph], list[list[Operator]]]

# Runtime -> what goes together beyond what files have. LiteRT runs operators as they are written.
FUSED: Mapping[str, tuple[Fusion, ...]] = {
    "ort": (_convolution_and_sum, _between_codes),
    "tflite": (_between_codes,),
}
