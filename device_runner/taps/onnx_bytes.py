"""Name inner values of an ONNX file as outputs, without the onnx package.

ONNX files are Protocol Buffers. A message that occurs twice is merged by every parser: repeated
fields are joined (protobuf encoding specification, "Last One Wins"). So a second graph that
holds nothing but outputs, appended to the file, adds them to the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edgeticket.device_runner.errors import InputError

# Field numbers of onnx.proto.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_OUTPUT = 1, 12
NODE_OUTPUT, NODE_OP_TYPE = 2, 4
VALUE_NAME = 1

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Node(NamedTuple):
    """One operator of the graph."""

    op_type: str
    outputs: tuple[str, ...]


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


def read_nodes(model: bytes, *, place: str) -> list[Node]:
    """The operators of an ONNX file, in order."""
    return list(_Graph(model, place).nodes())


class _Graph:
    def __init__(self, model: bytes, place: str) -> None:
        self._model, self._place = model, place

    def nodes(self) -> Iterator[Node]:
        for node in self._inner(GRAPH_NODE):
            fields = list(self._fields(*node))
            kinds = [self._text(at) for number, at in fields if number == NODE_OP_TYPE]
            outputs = tuple(self._text(at) for number, at in fields if number == NODE_OUTPUT)
            yield Node(kinds[-1] if kinds else "", outputs)

    def outputs(self) -> Iterator[str]:
        for value in self._inner(GRAPH_OUTPUT):
            for number, at in self._fields(*value):
                if number == VALUE_NAME:
                    yield self._text(at)

    def _inner(self, wanted: int) -> Iterator[tuple[int, int]]:
        for number, graph in self._fields(0, len(self._model)):
            if number == MODEL_GRAPH:
                for inner, at in self._fields(*graph):
                    if inner == wanted:
                        yield at

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Number and place, start and end, of each field of the message at ``start..end``."""
        at = start
        while at < end:
            key, at = self._varint(at, end)
            kind = key & 7
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
            yield key >> 3, (at, after)
            at = after

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

    def _text(self, at: tuple[int, int]) -> str:
        try:
            return self._model[slice(*at)].decode()
        except UnicodeDecodeError:
            raise self._damaged(at[0]) from None

    def _damaged(self, at: int) -> InputError:
        return InputError(f"{self._place} is not a whole ONNX file (byte {at}): make it again")


def _field(number: int, content: bytes) -> bytes:
    size, prefix = len(content), bytearray([number << 3 | BYTES])
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes(prefix) + bytes([size]) + content
