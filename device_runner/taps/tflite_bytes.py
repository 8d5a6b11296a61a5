"""Name inner tensors of a TFLite file as outputs, without flatbuffers.

The list of outputs is a vector that its subgraph points to with a 32-bit offset. A longer vector
is appended to the file, and those four bytes are changed to point there. Format: the FlatBuffers
internals (tables, vtables, offsets) and schema.fbs of TensorFlow Lite.
"""

from __future__ import annotations

import struct

from edgeticket.device_runner.errors import InputError

# Positions of fields in the tables of schema.fbs.
MODEL_SUBGRAPHS = 2
SUBGRAPH_TENSORS, SUBGRAPH_OUTPUTS, SUBGRAPH_OPERATORS = 0, 2, 3
OPERATOR_OUTPUTS = 2
TENSOR_NAME = 3


def tap_tflite(model: bytes, *, place: str) -> bytes:
    """A TFLite file -> the same with every layer's output among its outputs, behind its own.

    A name with a dot is a piece of a layer (``conv1.padded``), and left alone.

    Raises:
        InputError: not a TFLite file.
    """
    try:
        file = _File(model)
        (subgraph,) = file.tables(file.field(file.follow(0), MODEL_SUBGRAPHS))
        tensors = file.tables(file.field(subgraph, SUBGRAPH_TENSORS))
        at = file.field(subgraph, SUBGRAPH_OUTPUTS)
        outputs = file.integers(at)
        for operator in file.tables(file.field(subgraph, SUBGRAPH_OPERATORS)):
            for index in file.integers(file.field(operator, OPERATOR_OUTPUTS)):
                name = file.text(file.field(tensors[index], TENSOR_NAME))
                if index not in outputs and "." not in name:
                    outputs.append(index)
    except (struct.error, IndexError, ValueError):
        raise InputError(f"{place} is not a whole TFLite file: make it again") from None
    end = len(model) + -len(model) % 4
    tapped = bytearray(model.ljust(end, b"\0"))
    struct.pack_into("<I", tapped, at, end - at)
    return bytes(tapped) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


class _File:
    """Reads places in the file; a place that does not exist raises."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def follow(self, at: int) -> int:
        """The place that the offset at ``at`` points to."""
        return at + self._number("<I", at)

    def field(self, table: int, position: int) -> int:
        """Where a table holds a field; ValueError where it holds none."""
        vtable = table - self._number("<i", table)
        if 4 + 2 * position >= self._number("<H", vtable):
            raise ValueError
        offset = self._number("<H", vtable + 4 + 2 * position)
        if offset == 0:
            raise ValueError
        return table + offset

    def tables(self, at: int) -> list[int]:
        """The tables in the vector that the field at ``at`` points to."""
        vector = self.follow(at)
        count = self._count(vector)
        return [self.follow(vector + 4 + 4 * i) for i in range(count)]

    def integers(self, at: int) -> list[int]:
        """The numbers, none negative, in the vector that the field at ``at`` points to."""
        vector = self.follow(at)
        numbers = struct.unpack_from(f"<{self._count(vector)}i", self._data, vector + 4)
        if any(number < 0 for number in numbers):
            raise ValueError
        return list(numbers)

    def text(self, at: int) -> str:
        start = self.follow(at) + 4
        return self._data[start : start + self._number("<I", start - 4)].decode()

    def _count(self, vector: int) -> int:
        count = self._number("<I", vector)
        if vector + 4 * count > len(self._data):
            raise ValueError
        return count

    def _number(self, form: str, at: int) -> int:
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number
