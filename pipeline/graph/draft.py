"""A graph that is being made, by readers of ONNX nodes and of ATen nodes alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.graph import (
    Array,
    Constant,
    Graph,
    Operator,
    Quantization,
    Value,
)

Shape = tuple[int, ...]


class KindOf(Protocol):
    """As much of an operator's kind as a draft asks for (`operators.kind.Kind`)."""

    @property
    def shape(self) -> Callable[..., Shape]: ...

    @property
    def dtype(self) -> str: ...


class BatchSize(int):
    """A size that follows from the number of examples: its value for a batch of one."""


# What only moves numbers, of whatever type.
PASSING = frozenset({"Reshape", "Flatten", "Transpose", "Slice", "Concat", "Gather", "Tile"})


class Draft:
    """Operators so far, and shapes of all that flows, for a batch of one.

    A reader is called for one node; ``step`` is what the node shall be called, ``result`` what its
    output is called, ``label`` how sentences name it.
    """

    def __init__(self, kinds: Mapping[str, KindOf]) -> None:
        self.kinds = kinds
        self.shapes: dict[str, Shape] = {}
        self.dtypes: dict[str, str] = {}  # of what is not float32
        self.constants: dict[str, Constant] = {}
        self.operators: list[Operator] = []
        self.made: dict[str, Operator] = {}  # by output
        self.batch_axes: dict[str, int | None] = {}  # of what flows, where that is not 0
        self.scales: dict[str, Quantization] = {}  # by value before rounding
        self.step, self.result, self.label = "", "", ""
        self.origin: tuple[str, ...] = ()
        # Which axes of the present node's output grow with the batch; None where that is not known.
        self.open_axes: list[bool] | None = None
        self._counts: Counter[str] = Counter()
        self._names: set[str] = set()  # of operators

    def add(
        self,
        kind: str,
        *inputs: str,
        suffix: str = "",
        clamp: tuple[float, float] | None = None,
        origin: tuple[str, ...] | None = None,
        **attributes: Any,
    ) -> str:
        """Append an operator -> the name of its output.

        Args:
            kind: a key of the table of operators.
            inputs: values or constants; "" is an absent one.
            suffix: of its name, where the node of ``step`` becomes several operators.
            clamp: bounds that the output is clipped to, of a Clip.
            origin: see `Operator`; None takes that of the node.
            attributes: as ONNX names them.
        """
        description = self.kinds[kind]
        shapes = [self.shapes[name] if name else () for name in inputs]
        shape = tuple(int(n) for n in description.shape(attributes, *shapes))
        output = self.unique(f"{self.result}_{suffix}" if suffix else self.result)
        name = f"{self.step}_{suffix}" if suffix else self.step
        if name in self._names or self.step == self.result:
            name = output
        self._names.add(name)
        origin = self.origin if origin is None else origin
        operator = Operator(name, kind, inputs, output, attributes, clamp, origin)
        self.operators.append(operator)
        self.made[output] = operator
        self.shapes[output] = shape
        self.batch_axes[output] = self._moved_batch(operator)
        dtype = self.dtype(inputs[0]) if kind in PASSING else description.dtype
        if dtype != "float32":
            self.dtypes[output] = dtype
        return output

    def batch_axis(self, name: str) -> int | None:
        """Which axis of a value counts examples; None where no axis does."""
        return None if name in self.constants else self.batch_axes.get(name, 0)

    def _moved_batch(self, operator: Operator) -> int | None:
        """Where an operator puts the axis of the batch."""
        flowing = [name for name in operator.inputs if name and name not in self.constants]
        if not flowing:
            return None
        shape = self.shapes[operator.output]
        source = max(flowing, key=self.rank)  # where shapes are broadcast, axes align at the end
        axis = self.batch_axis(source)
        if "free" in operator.attributes:
            free = list(operator.attributes["free"])
            return free.index(-1) if -1 in free else None
        if axis is None:
            return None
        if "perm" in operator.attributes:
            return list(operator.attributes["perm"]).index(axis)
        axis += max(len(shape) - self.rank(source), 0)
        return axis if axis < len(shape) else None

    def unique(self, name: str) -> str:
        """``name``, or with a number behind it that makes it new."""
        candidate = name
        while candidate in self.shapes:
            self._counts[name] += 1
            candidate = f"{name}_{self._counts[name]}"
        return candidate

    def constant(self, data: Any, name: str = "") -> str:
        """Store numbers -> their name."""
        array: Array = np.asarray(data)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.unique(name or f"{self.step}_constant")
        self.constants[name] = Constant(array)
        self.shapes[name] = array.shape
        if array.dtype != np.float32:
            self.dtypes[name] = str(array.dtype)
        return name

    def number(self, value: float) -> str:
        """Store one number -> its name; equal numbers are stored once."""
        name = f"number_{re.sub(r'[^0-9a-zA-Z]', '_', repr(float(value)).replace('-', 'm'))}"
        if name not in self.constants:
            self.constant(np.asarray(value, np.float32), name)
        return name

    def shape(self, name: str) -> Shape:
        """Of a value or constant."""
        return self.shapes[name]

    def rank(self, name: str) -> int:
        """Number of axes of a value or constant."""
        return len(self.shapes[name])

    def dtype(self, name: str) -> str:
        """float32, int64 or bool."""
        return self.dtypes.get(name, "float32")

    def is_constant(self, name: str) -> bool:
        """Whether it is stored, and does not follow from the input."""
        return name in self.constants

    def array(self, name: str, what: str = "this input") -> Array:
        """The numbers of a constant.

        Raises:
            InputError: it follows from the input.
        """
        if name not in self.constants:
            raise self.refuse(f"computes {what} from the input: it must be a constant")
        return self.constants[name].data

    def refuse(self, reason: str) -> InputError:
        """The sentence for what the present node does that cannot be had."""
        return InputError(f"{self.label} {reason}")

    def finish(self, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
        """What there is, without operators and constants that nothing needs."""
        needed = set(outputs)
        kept: list[Operator] = []
        for op in reversed(self.operators):
            if op.output in needed:
                kept.append(op)
                needed.update(op.inputs)
        kept.reverse()
        names = [*inputs, *(op.output for op in kept)]
        values = {
            name: Value(name, self.shapes[name], self.scales.get(name), self.dtype(name))
            for name in names
        }
        constants = {name: c for name, c in self.constants.items() if name in needed}
        return Graph(tuple(inputs), tuple(outputs), tuple(kept), values, constants)
