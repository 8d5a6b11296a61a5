"""A prepared graph that is written anew, step by step, in whole numbers where there were codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.graph import (
    HIGHEST,
    LOWEST,
    Array,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
)
from edgeticket.pipeline.operators import KINDS

EXACT_INVERSE = 2.0**-35  # relative: no result in 10^9 is rounded to another side by it


class ExactDraft:
    """Operators that were added so far, and what is known of the graph as it was."""

    def __init__(self, graph: Graph) -> None:
        self.given = graph
        self.values = dict(graph.values)
        self.constants = dict(graph.constants)
        self.operators: list[Operator] = []
        self.left_out: set[str] = set()  # operators that became part of others
        self.powers: dict[str, tuple[str, int]] = {}  # shares -> powers, tokens that are summed
        self.readers: dict[str, list[Operator]] = {}
        for op in graph.operators:
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op)
        self._makers = {op.output: op for op in graph.operators}
        self._whole: dict[str, tuple[str, float]] = {}

    def graph(self) -> Graph:
        """All that was added and is read."""
        return _without_unread(
            replace(
                self.given,
                operators=tuple(self.operators),
                values=self.values,
                constants=self.constants,
            )
        )

    def slice(self, op: Operator, name: str, axis: int, begin: int, end: int) -> str:
        """A part of one axis."""
        shape = self.values[name].shape
        if (begin, end) == (0, shape[axis]):
            return name
        at = axis % len(shape)
        return self.add(
            op,
            "Slice",
            name,
            begin=[begin if i == at else 0 for i in range(len(shape))],
            size=[end - begin if i == at else n for i, n in enumerate(shape)],
            steps=[1] * len(shape),
            axes=[at],
        )

    def sum(self, op: Operator, name: str) -> str:
        """Over the last axis, which stays."""
        return self.add(op, "ReduceSum", name, axes=[len(self.values[name].shape) - 1], keepdims=1)

    def whole_of(self, op: Operator, name: str) -> tuple[str, float, float] | None:
        """What was codes as code - zero point; the scale; and how large one can be."""
        factor = 1.0
        maker = self._makers.get(name)
        if maker is not None and (number := self.number_times(maker, name)) is not None:
            factor, name = number, next(n for n in maker.inputs if n in self.values)
        codes = self.code_of(name)
        if codes is None:
            return None
        quantization = self.quantization(codes)
        if name not in self._whole:
            inverse = np.float32(1) / quantization.scale
            whole = self.add(op, "Mul", name, float(inverse))
            if not _gives_whole(quantization, inverse):
                whole = self.add(op, "Round", whole)
            self._whole[name] = whole, float(quantization.scale)
        whole, scale = self._whole[name]
        return whole, factor * scale, largest_of(quantization)

    def maker(self, name: str) -> Operator | None:
        """The operator of the graph as it was whose output a value is."""
        return self._makers.get(name)

    def code_of(self, name: str) -> str | None:
        """The codes that a value is the real numbers of."""
        maker = self._makers.get(name)
        if maker is None or maker.kind != "DequantizeLinear":
            return None
        return maker.inputs[0]

    def number_times(self, op: Operator, name: str) -> float | None:
        """The number that an operator multiplies a value by, if it does that and no more."""
        if op.kind not in ("Mul", "Div") or op.clamp is not None:
            return None
        stored = [n for n in op.inputs if n in self.constants]
        if len(stored) != 1:
            return None
        data = self.constants[stored[0]].data
        if data.size != 1 or data.ndim > len(self.values[name].shape):
            return None
        number = float(data.reshape(-1)[0])
        if op.kind == "Mul":
            return number
        return 1 / number if op.inputs[1] == stored[0] and number else None

    def only_reader(self, name: str) -> Operator | None:
        """The one operator that reads a value, if nothing else does."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.given.outputs else None

    def in_steps(self, name: str) -> Quantization | None:
        """The scale that a value is to be rounded by here already.

        That is where one runtime divides by the scale, another multiplies by its inverse, and that
        is not the same.
        """
        reader = self.only_reader(name)
        if reader is None or reader.kind != "QuantizeLinear":
            return None
        quantization = self.quantization(reader.output)
        inverse = float(np.float32(1) / quantization.scale)
        agrees = abs(float(quantization.scale) * inverse - 1) < EXACT_INVERSE
        return None if agrees else quantization

    def quantization(self, name: str) -> Quantization:
        """That of a value that is rounded."""
        quantization = self.values[name].quantization
        assert quantization is not None
        return quantization

    def scale(self, op: Operator, whole: str, factor: float | Array) -> None:
        """Make the output of what is so many times ``factor``, one or one for each of a row."""
        rounded = self.in_steps(op.output)
        if rounded is None:
            self.finish(op, "Mul", whole, np.array(factor, np.float32))
        else:
            self.round(op, self.add(op, "Mul", whole, factor / float(rounded.scale)), rounded)

    def round(self, op: Operator, steps: str, quantization: Quantization) -> None:
        """Make the output of what is so many codes."""
        whole = self.add(op, "Round", steps)
        self.finish(op, "Mul", whole, np.asarray(quantization.scale))

    def finish(self, op: Operator, kind: str, source: str, numbers: Array) -> None:
        """Make the output of two."""
        inputs = source, self.constant(op, np.asarray(numbers))
        self.operators.append(Operator(op.name, kind, inputs, op.output, origin=op.origin))

    def add(self, op: Operator, kind: str, *inputs: str | float | Array, **attributes: Any) -> str:
        """Append an operator for a part of ``op`` -> the name of its value."""
        names = tuple(n if isinstance(n, str) else self.constant(op, n) for n in inputs)
        shapes = [
            self.values[n].shape if n in self.values else self.constants[n].data.shape
            for n in names
        ]
        shape = KINDS[kind].shape(attributes, *shapes)
        name = f"{op.name}.exact{len(self.operators)}"
        self.values[name] = Value(name, tuple(shape))
        self.operators.append(Operator(name, kind, names, name, attributes, origin=op.origin))
        return name

    def constant(self, op: Operator, number: float | Array) -> str:
        """Store numbers -> their name."""
        data = np.asarray(number, np.float32)
        name = f"exact.{float(data)}" if data.ndim == 0 else f"{op.name}.{len(self.operators)}"
        self.constants[name] = Constant(data)
        return name


def _gives_whole(quantization: Quantization, inverse: np.float32) -> bool:
    """Whether every number that a code stands for, times 1 / scale, is a whole one."""
    codes = np.arange(LOWEST, HIGHEST + 1, dtype=np.float32) - np.float32(quantization.zero_point)
    return bool((codes * quantization.scale * inverse == codes).all())


def largest_of(quantization: Quantization) -> float:
    """How far from its zero point a code can be."""
    return float(max(HIGHEST - quantization.zero_point, quantization.zero_point - LOWEST))


def _without_unread(graph: Graph) -> Graph:
    read = set(graph.outputs)
    kept: list[Operator] = []
    for op in reversed(graph.operators):
        if op.output in read:
            kept.append(op)
            read.update(op.inputs)
    used = read.union(graph.inputs)
    return replace(
        graph,
        operators=tuple(reversed(kept)),
        values={name: value for name, value in graph.values.items() if name in used},
        constants={name: c for name, c in graph.constants.items() if name in used},
    )
