"""Look into ONNX files, and name inner values as outputs, without the onnx package.

ONNX files are Protocol Buffers. A message that occurs twice is merged by every parser: repeated
fields are joined (protobuf encoding specification, "Last One Wins"). So a second graph that
holds nothing but outputs, appended to the file, adds them to the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edgeticket.device_runner.errors import InputError

# Field numbers of onnx.proto.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_OUTPUT = 1, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE = 1, 2, 3, 4
VALUE_NAME = 1
TENSOR_NAME, TENSOR_LOCATION = 8, 14

# Which fields of a message are messages again, as far as tensors and operators lie in them.
NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {MODEL_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {GRAPH_NODE: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
MOST_NESTED = 100  # as every parser of Protocol Buffers has it

# Operators that name files, or bring code of their own.
OPENERS: Mapping[str, str] = {
    "EPContext": "was compiled for one device and may name other files",
    "PythonOp": "calls Python",
    "PythonOpGrad": "calls Python",
}

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Node(NamedTuple):
    """One operator of the graph."""

    op_type: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    name: str = ""


class _Field(NamedTuple):
    """One field of a message; ``start..end`` are its contents."""

    number: int
    kind: int
    start: int
    end: int


def check_onnx(model: bytes, *, place: str) -> None:
    """Refuse an ONNX file that is not all there is: what a runtime reads is what was hashed.

    Weights may lie in another file wherever a tensor may stand: as initializers, sparse ones, in
    attributes, in branches and in functions.

    Raises:
        InputError: not an ONNX file; a tensor or an operator that leads elsewhere.
    """
    if model[4:8] == b"ORTM":  # the runtime would take it, and look for weights beside it
        raise InputError(f"{place} is in ONNX Runtime's own format: give the ONNX file instead")
    file = _Graph(model, place)
    waiting = [("model", 0, len(model), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > MOST_NESTED:
            raise InputError(f"{place} is nested deeper than {MOST_NESTED} levels: make it again")
        for field in file.fields(start, end):
            inner = NESTED[message].get(field.number)
            if inner is not None and field.kind == BYTES:
                waiting.append((inner, field.start, field.end, depth + 1))
            elif (message, field.number, field.kind) == ("node", NODE_OP_TYPE, BYTES):
                _check_operator(file.text(field), place)
            elif (message, field.number, field.kind) == ("tensor", TENSOR_LOCATION, VARINT):
                is_inside = not any(byte & 127 for byte in model[field.start : field.end])
                _check_tensor(list(file.texts(start, end, TENSOR_NAME)), place, is_inside=is_inside)


def _check_operator(kind: str, place: str) -> None:
    if kind in OPENERS:
        raise InputError(
            f"{place} has the operator {kind}, which {OPENERS[kind]}: give the file that it was "
            "made from"
        )


def _check_tensor(names: list[str], place: str, *, is_inside: bool) -> None:
    if not is_inside:
        raise InputError(
            f"{place} keeps the numbers of {''.join(names[:1]) or 'a tensor'} in another file, "
            "which no manifest knows: make the bundle with `edgeticket bundle`, which takes them in"
        )


def tap_onnx(model: bytes, *, place: str) -> bytes:
    """An ONNX file -> the same with every layer's output among its outputs, behind its own.

    A name with a dot is a piece of a layer, such as a sum before it is rounded; asking for it would
    take the layer's kernel apart, so it is left alone.

    Raises:
        InputError: not an ONNX file.
    """
    graph = _Graph(model, place)
    present = set(graph.outputs())
    inner = [name for node in graph.nodes() for name in node.outputs]
    wanted = [name for name in inner if name and "." not in name and name not in present]
    values = (_field(GRAPH_OUTPUT, _field(VALUE_NAME, name.encode())) for name in wanted)
    return model + _field(MODEL_GRAPH, b"".join(values))


def cut_onnx(model: bytes, count: int, *, place: str) -> bytes:
    """An ONNX file -> one that ends behind its first ``count`` operators.

    Its outputs are what these give and none of them reads, so that none is in vain.

    Raises:
        InputError: not an ONNX file, or it has fewer operators.
    """
    graph = _Graph(model, place)
    nodes = list(graph.nodes())
    if not 0 < count <= len(nodes):
        raise InputError(f"{place} has {len(nodes)} operators, not {count}")
    read = {name for node in nodes[:count] for name in node.inputs}
    made = dict.fromkeys(name for node in nodes[:count] for name in node.outputs if name)
    outputs = [_field(GRAPH_OUTPUT, _field(VALUE_NAME, n.encode())) for n in made if n not in read]
    kept = bytearray()
    seen, at = 0, 0
    inner = bytearray()
    for field in graph.fields(0, len(model)):
        if (field.number, field.kind) != (MODEL_GRAPH, BYTES):
            kept += model[at : field.end]
        else:
            start = field.start
            for part in graph.fields(field.start, field.end):
                is_node = (part.number, part.kind) == (GRAPH_NODE, BYTES)
                seen += is_node
                if part.number != GRAPH_OUTPUT and not (is_node and seen > count):
                    inner += model[start : part.end]
                start = part.end
        at = field.end
    return bytes(kept) + _field(MODEL_GRAPH, bytes(inner) + b"".join(outputs))


def read_nodes(model: bytes, *, place: str) -> list[Node]:
    """The operators of an ONNX file, in order."""
    return list(_Graph(model, place).nodes())


class _Graph:
    def __init__(self, model: bytes, place: str) -> None:
        self._model, self._place = model, place

    def nodes(self) -> Iterator[Node]:
        for node in self._inner(GRAPH_NODE):
            kinds = list(self.texts(node.start, node.end, NODE_OP_TYPE))
            outputs = tuple(self.texts(node.start, node.end, NODE_OUTPUT))
            inputs = tuple(self.texts(node.start, node.end, NODE_INPUT))
            names = list(self.texts(node.start, node.end, NODE_NAME))
            yield Node(kinds[-1] if kinds else "", outputs, inputs, names[-1] if names else "")

    def outputs(self) -> Iterator[str]:
        for value in self._inner(GRAPH_OUTPUT):
            yield from self.texts(value.start, value.end, VALUE_NAME)

    def texts(self, start: int, end: int, number: int) -> Iterator[str]:
        """The text of each field of that number in the message at ``start..end``."""
        for field in self.fields(start, end):
            if (field.number, field.kind) == (number, BYTES):
                yield self.text(field)

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        """The fields of the message at ``start..end``."""
        at = start
        while at < end:
            key, at = self._varint(at, end)
            kind = key & 7
            # Some parsers drop what is above 32 bits, and would see another field than we do.
            if not 8 <= key < 2**32:
                raise self._damaged(at)
            if kind == VARINT:
                _, after = self._varint(at, end)
            elif kind == BYTES:
                size, at = self._varint(at, end)
                after = at + size
            elif kind in (FIXED64, FIXED32):
                after = at + (8 if kind == FIXED64 else 4)
            else:
                raise self._damaged(at)
            if after > end:
                raise self._damaged(at)
            yield _Field(key >> 3, kind, at, after)
            at = after

    def text(self, field: _Field) -> str:
        try:
            return self._model[field.start : field.end].decode()
        except UnicodeDecodeError:
            raise self._damaged(field.start) from None

    def _inner(self, wanted: int) -> Iterator[_Field]:
        for graph in self.fields(0, len(self._model)):
            if (graph.number, graph.kind) == (MODEL_GRAPH, BYTES):
                for field in self.fields(graph.start, graph.end):
                    if (field.number, field.kind) == (wanted, BYTES):
                        yield field

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._model[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise self._damaged(at)

    def _damaged(self, at: int) -> InputError:
        return InputError(f"{self._place} is no whole ONNX file (byte {at}): make it again")


def _field(number: int, content: bytes) -> bytes:
    size, prefix = len(content), bytearray([number << 3 | BYTES])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes(prefix) + bytes([size]) + content
