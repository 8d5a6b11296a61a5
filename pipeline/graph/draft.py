"""A graph that is being made, by readers of ONNX nodes and of ATen nodes alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Coded:
    """A stored tensor that is scale × codes; the scale is broadcast over them."""

    codes: Array  # int32, without a zero point
    scale: Array  # float32, with as many axes as the codes

    def numbers(self) -> Array:
        """What the codes stand for, float32."""
        numbers: Array = self.codes.astype(np.float32) * self.scale
        return numbers

    def transposed(self, order: Sequence[int]) -> Coded:
        """The same with its axes in another order."""
        return Coded(self.codes.transpose(order), self.scale.transpose(order))

    def by_channel(self) -> Constant:
        """int8 codes with a scale for each index of axis 0, or why that says less."""
        rows = np.broadcast_to(self.scale, self.codes.shape).reshape(len(self.codes), -1)
        return self._by_rows(rows)

    def by_transposed_channel(self, group: int) -> Constant:
        """The same of a ConvTranspose's weight [inputs, outputs / group, ...]."""
        inputs, outputs = self.codes.shape[:2]
        wide = np.broadcast_to(self.scale, self.codes.shape)
        parts = wide.reshape(group, inputs // group, outputs, -1)
        return self._by_rows(parts.transpose(0, 2, 1, 3).reshape(group * outputs, -1))

    def _by_rows(self, scales: Array) -> Constant:
        """Codes, if those of each row, which are one output channel's, share one scale."""
        if not self.codes.size or not -128 <= self.codes.min() <= self.codes.max() <= 127:
            spread = f"{self.codes.min()}..{self.codes.max()}" if self.codes.size else "none"
            unfit = f"its weight's codes less their zero point are {spread}, not within -128..127"
        elif (scales != scales[:, :1]).any():
            unfit = "its weight has several scales within one output channel"
        else:
            codes = np.ascontiguousarray(self.codes, dtype=np.int8)
            return Constant(codes, np.array(scales[:, 0], np.float32))
        return Constant(self.numbers(), unfit=unfit)


class BatchSize(int):
    """A size that follows from the number of examples: its value for a batch of one.

    Products, quotients and sums of such sizes follow from it, too; their own ratio does not.
    """

    def __mul__(self, other: Any) -> Any:
        return BatchSize(int(self) * int(other)) if isinstance(other, int) else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        quotient = int(self) // int(other)
        return quotient if isinstance(other, BatchSize) else BatchSize(quotient)

    def __add__(self, other: Any) -> Any:
        both = int(self) + int(other)
        return BatchSize(both) if isinstance(other, BatchSize) or not other else both

    __radd__ = __add__


SAME_DTYPE = "input"  # as a `Kind.dtype`: that of the tensors that flow into it
GIVEN_DTYPE = "to"  # that of its attribute ``to``
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})  # whose weights may be codes


class Draft:
    """Operators so far, and shapes of all that flows, for a batch of one.

    A size in those that grows with the batch is a `BatchSize`, so that readers hand that on.

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
        self.scales: dict[str, Quantization] = {}  # of values that are rounded
        self.coded: dict[str, Coded] = {}  # of constants that are stored rounded
        # Of values that are codes with a scale for each index of an axis: that, as it is broadcast,
        # and zero points as they are stored.
        self.channel_steps: dict[str, tuple[Array, Array]] = {}
        self.inputs_of_codes: set[str] = set()  # whose scale is not known yet
        self.step, self.result, self.label = "", "", ""
        self.origin: tuple[str, ...] = ()
        self._counts: Counter[str] = Counter()
        self._rounded: dict[tuple[str, Quantization], str] = {}
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
        shape = tuple(description.shape(attributes, *shapes))
        output = self.unique(f"{self.result}_{suffix}" if suffix else self.result)
        name = f"{self.step}_{suffix}" if suffix else self.step
        if name in self._names or self.step == self.result:
            name = output
        self._names.add(name)
        origin = self.origin if origin is None else origin
        plain = {key: _plain(value) for key, value in attributes.items()}
        operator = Operator(name, kind, inputs, output, plain, clamp, origin)
        self.operators.append(operator)
        self.made[output] = operator
        self.shapes[output] = shape
        dtype = description.dtype
        if dtype == SAME_DTYPE:
            flowing = [name for name in inputs if name and name not in self.constants]
            dtype = self.dtype((flowing or inputs)[-1])
        elif dtype == GIVEN_DTYPE:
            dtype = attributes["to"]
        if dtype != "float32":
            self.dtypes[output] = dtype
        return output

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

    def rounded(self, source: str, quantization: Quantization) -> str:
        """``source`` rounded -> its name; the same rounding is done once."""
        if self.scales.get(source) == quantization:
            return source
        key = source, quantization
        if key not in self._rounded:
            self._rounded[key] = self.add("QuantizeLinear", source)
            self.scales[self._rounded[key]] = quantization
        return self._rounded[key]

    def coded_constant(self, coded: Coded, name: str) -> str:
        """Store numbers that are rounded -> their name."""
        name = self.constant(coded.numbers(), name)
        self.coded[name] = coded
        return name

    def transposed(self, name: str, order: Sequence[int]) -> str:
        """A constant with its axes in another order -> its name."""
        label = f"{self.step}_transposed"
        if name in self.coded:
            return self.coded_constant(self.coded[name].transposed(order), label)
        return self.constant(np.ascontiguousarray(self.array(name).transpose(order)), label)

    def number(self, value: float) -> str:
        """Store one number -> its name; equal numbers are stored once."""
        name = f"number_{re.sub(r'[^0-9a-zA-Z]', '_', repr(float(value)).replace('-', 'm'))}"
        if name not in self.constants:
            self.constant(np.asarray(value, np.float32), name)
        return name

    def shape(self, name: str) -> Shape:
        """Of a value or constant; a size that grows with the batch is a `BatchSize`."""
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
        kept = [self._with_codes(op) for op in kept]
        names = [*inputs, *(op.output for op in kept)]
        values = {
            name: Value(name, _plain(self.shapes[name]), self.scales.get(name), self.dtype(name))
            for name in names
        }
        used = {name for op in kept for name in op.inputs}.union(outputs)
        constants = {name: c for name, c in self.constants.items() if name in used}
        graph = Graph(tuple(inputs), tuple(outputs), tuple(kept), values, constants)
        return without_roundings(graph)

    def _with_codes(self, operator: Operator) -> Operator:
        """A layer reads the codes of its weight, where they are such as layers can have."""
        if operator.kind not in LAYERS or operator.inputs[1] not in self.coded:
            return operator
        weight = operator.inputs[1]
        name = f"{weight}_codes"
        if operator.kind == "ConvTranspose":  # whose channels lie elsewhere
            name += f"_transposed_{operator.attributes['group']}"
        if name not in self.constants:
            coded = self.coded[weight]
            if operator.kind == "ConvTranspose":
                constant = coded.by_transposed_channel(operator.attributes["group"])
            else:
                constant = coded.by_channel()
            self.constants[name] = constant
        source, _, *more = operator.inputs
        return replace(operator, inputs=(source, name, *more))


def without_roundings(graph: Graph) -> Graph:
    """A value that is read rounded only is a rounded value: QuantizeLinear behind it is gone.

    One that is read raw as well, or rounded in two ways, stays, and so do the operators that
    round it.
    """
    readers = Counter(name for op in graph.operators for name in op.inputs)
    readers.update(graph.outputs)
    rounded: dict[str, str] = {}  # value behind a QuantizeLinear -> the one before it
    values = dict(graph.values)
    for op in graph.operators:
        if op.kind != "QuantizeLinear":
            continue
        (name,) = op.inputs
        source = rounded.get(name, name)
        if readers[name] == 1 and values[source].quantization is None:
            rounded[op.output] = source
            values[source] = replace(
                values[source], quantization=values.pop(op.output).quantization
            )
    operators = [
        replace(op, inputs=tuple(rounded.get(name, name) for name in op.inputs))
        for op in graph.operators
        if op.output not in rounded
    ]
    outputs = tuple(rounded.get(name, name) for name in graph.outputs)
    return replace(graph, outputs=outputs, operators=tuple(operators), values=values)


def _plain(value: Any) -> Any:
    """The same with plain numbers for sizes."""
    if isinstance(value, BatchSize):
        return int(value)
    if isinstance(value, list | tuple):
        return type(value)(_plain(part) for part in value)
    return value
