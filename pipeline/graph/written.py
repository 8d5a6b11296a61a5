"""The graph as text, without its numbers: what a file of a network says in the place of code.

``{"inputs": [[name, [shape of one input], dtype], ...], "outputs": [name, ...],
"constants": {name: [[shape], dtype, numbers or null], ...}, "trained": [name, ...],
"operators": [[name, kind, [inputs], output, {attributes}, clamp, [origin]], ...]}``; a clamp is
null, or two bounds of which null is infinite. The numbers of constants lie beside it, by name; few
that are never trained are in it, so that it can be drawn at random.

Anybody may have written such a text. Kinds of operators stand in the table, attributes are numbers,
words and lists of numbers, and nothing in it is ever looked up elsewhere or run.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgeticket.pipeline.graph.draft import GIVEN_DTYPE, SAME_DTYPE
from edgeticket.pipeline.graph.graph import Array, Constant, Graph, Operator, Value
from edgeticket.pipeline.operators import KINDS

MOST_OPERATORS = 200_000  # a recurrent layer has some twenty for each step of time
MOST_NUMBERS = 2**31 - 1  # of a value: TFLite counts in int32
MOST_AXES = 16
MOST_SHOWN = 200  # letters of a reason
FEW = 1024  # numbers of a constant that stand in the text
DTYPES = ("float32", "int64", "bool")

_WORD = re.compile(r"[A-Za-z_0-9]{0,32}")


def write_graph(graph: Graph, trained: Collection[str]) -> str:
    """A graph in float32, and which of its constants training may move -> text.

    Equal graphs give equal texts.
    """
    document = {
        "inputs": [
            [name, list(graph.values[name].shape[1:]), graph.values[name].dtype]
            for name in graph.inputs
        ],
        "outputs": list(graph.outputs),
        "constants": {
            name: [
                list(constant.data.shape),
                str(constant.data.dtype),
                None if name in trained else _few(constant.data),
            ]
            for name, constant in graph.constants.items()
        },
        "trained": sorted(trained),
        "operators": [
            [
                *(op.name, op.kind, list(op.inputs), op.output, dict(op.attributes)),
                None if op.clamp is None else [_finite(bound) for bound in op.clamp],
                list(op.origin),
            ]
            for op in graph.operators
        ],
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _few(data: Array) -> list[Any] | None:
    return data.reshape(-1).tolist() if data.size <= FEW and np.isfinite(data).all() else None


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None


def parse_graph(text: str) -> tuple[Graph, frozenset[str]]:
    """What `write_graph` wrote; constants have their shapes, and zeros that take no memory.

    Raises:
        ValueError: it is no such text; the message names the operator.
    """
    document = _document(text)
    try:
        inputs = [_input(*entry) for entry in document["inputs"]]
        constants = {_name(k): _constant(*entry) for k, entry in document["constants"].items()}
        entries, outputs = document["operators"], tuple(map(_name, document["outputs"]))
        trained = frozenset(map(_name, document["trained"]))
        if not isinstance(entries, list) or len(entries) > MOST_OPERATORS or not outputs:
            raise ValueError(f"it has no list of up to {MOST_OPERATORS:,} operators, or no output")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no graph: {_line(error)}") from None
    operators: list[Operator] = []
    for entry in entries:
        try:
            operators.append(_operator(*entry))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"operator {reprlib.repr(entry)} of the graph: {_line(error)}"
            ) from None
    graph = Graph(tuple(v.name for v in inputs), outputs, tuple(operators), {}, constants)
    graph = replace(graph, values=shaped(graph, {value.name: value for value in inputs}))
    missing = [name for name in outputs if name not in graph.values]
    if missing or not trained <= constants.keys():
        raise ValueError(f"the graph has no {reprlib.repr((missing or sorted(trained))[0])}")
    return graph, trained


def shaped(graph: Graph, inputs: Mapping[str, Value]) -> dict[str, Value]:
    """All values of a graph, from those of its inputs: shapes and types follow.

    Raises:
        ValueError: operators do not fit what they read, or give more than any device holds.
    """
    values = dict(inputs)
    for op in graph.operators:
        kind = KINDS[op.kind]
        try:
            shapes = [_shape(name, values, graph.constants) for name in op.inputs]
            shape = tuple(int(n) for n in kind.shape(op.attributes, *shapes))
            if (
                math.prod(shape) > MOST_NUMBERS
                or len(shape) > MOST_AXES
                or min(shape, default=1) < 1
            ):
                raise ValueError(f"makes {list(shape)[:MOST_AXES]}, which no device holds")
            dtype = _dtype(op, values, graph.constants)
        except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"operator {reprlib.repr(op.name)}: {_line(error)}") from None
        if op.output in values or op.output in graph.constants:
            raise ValueError(f"operator {reprlib.repr(op.name)}: its output is another's, too")
        values[op.output] = Value(op.output, shape, None, dtype)
    return values


def _shape(
    name: str, values: Mapping[str, Value], constants: Mapping[str, Constant]
) -> tuple[int, ...]:
    if not name:
        return ()
    if name in constants:
        return constants[name].data.shape
    return values[name].shape


def _dtype(op: Operator, values: Mapping[str, Value], constants: Mapping[str, Constant]) -> str:
    dtype = KINDS[op.kind].dtype
    if dtype == GIVEN_DTYPE:
        dtype = str(op.attributes["to"])
        if dtype not in DTYPES:
            raise ValueError(f"it makes {reprlib.repr(dtype)}")
    elif dtype == SAME_DTYPE:
        flowing = [name for name in op.inputs if name in values]
        last = (flowing or op.inputs)[-1]
        dtype = values[last].dtype if flowing else str(constants[last].data.dtype)
    return dtype


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"this is no graph: {_line(error)}") from None
    if not isinstance(document, dict):
        raise ValueError("this is no graph: it is no mapping")
    return document


def _input(name: Any, shape: Any, dtype: Any) -> Value:
    sizes = _sizes(shape)
    if dtype not in DTYPES or math.prod(sizes) > MOST_NUMBERS or 0 in sizes:
        raise ValueError(f"input {reprlib.repr(name)} is {reprlib.repr(dtype)} of that shape")
    return Value(_name(name), (1, *sizes), None, dtype)


def _constant(shape: Any, dtype: Any, numbers: Any) -> Constant:
    if dtype not in DTYPES:
        raise ValueError(f"a constant is {reprlib.repr(dtype)}: it is one of {', '.join(DTYPES)}")
    sizes = _sizes(shape)
    if numbers is None:
        return Constant(np.broadcast_to(np.zeros((), dtype), sizes))
    if not isinstance(numbers, list) or len(numbers) > FEW or not all(map(_is_number, numbers)):
        raise ValueError(f"a constant has {reprlib.repr(numbers)}")
    return Constant(np.asarray(numbers, dtype).reshape(sizes))


def _operator(
    name: Any, kind: Any, inputs: Any, output: Any, attributes: Any, clamp: Any, origin: Any
) -> Operator:
    if not isinstance(kind, str) or kind not in KINDS or KINDS[kind].meaning is None:
        raise ValueError(f"there is no {reprlib.repr(kind)}")
    if not isinstance(attributes, dict) or not isinstance(inputs, list):
        raise TypeError("its inputs are a list, and its attributes a mapping")
    for key, value in attributes.items():
        numbers = value if isinstance(value, list) else [value]
        is_word = isinstance(value, str) and _WORD.fullmatch(value) is not None
        if not is_word and not all(map(_is_number, numbers)):
            raise ValueError(f"its {key[:32]} is {reprlib.repr(value)}: give numbers, or a word")
    bounds = None
    if clamp is not None:
        low, high = clamp
        bounds = (
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
        )
    return Operator(
        _name(name),
        kind,
        tuple(_text(source) for source in inputs),
        _name(output),
        attributes,
        bounds,
        tuple(map(_text, origin)),
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 2**63  # a bool is one


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > MOST_AXES:
        raise TypeError(f"{reprlib.repr(shape)} is no shape")
    if not all(type(size) is int and 0 <= size < 2**40 for size in shape):
        raise ValueError(f"{reprlib.repr(shape)} is no shape")
    return tuple(shape)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{reprlib.repr(value)} is no name")
    return value


def _name(value: Any) -> str:
    if not _text(value):
        raise ValueError("a name is empty")
    return str(value)


def _line(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:MOST_SHOWN]
