"""Look into TFLite files, and name inner tensors as outputs, without flatbuffers.

The list of outputs is a vector that its subgraph points to with a 32-bit offset. A longer vector
is appended to the file, and those four bytes are changed to point there. Format: the FlatBuffers
internals (tables, vtables, offsets) and schema.fbs of TensorFlow Lite.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from edgeticket.device_runner.errors import InputError

# Positions of fields in the tables of schema.fbs.
MODEL_CODES, MODEL_SUBGRAPHS, MODEL_BUFFERS, MODEL_GROUPS, MODEL_EXTERNAL = 1, 2, 4, 8, 9
CODE_CUSTOM = 1
BUFFER_OFFSET, BUFFER_SIZE = 1, 2
SUBGRAPH_TENSORS, SUBGRAPH_OUTPUTS, SUBGRAPH_OPERATORS = 0, 2, 3
OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OFFSET, OPERATOR_SIZE = 1, 2, 9, 10
TENSOR_NAME = 3
TENSORFLOWS = "Flex"  # how the names of its own operators begin


def check_tflite(model: bytes, *, place: str) -> None:
    """Refuse a TFLite file that is not all there is: what a runtime reads is what was hashed.

    Numbers may lie behind the flatbuffer, for they are part of the file; in no other file, and not
    beyond the end.

    Raises:
        InputError: not a TFLite file; buffers or operators that lead elsewhere.
    """
    try:
        file = _File(model)
        root = file.follow(0)
        codes = [file.optional_text(code, CODE_CUSTOM) for code in file.tables(root, MODEL_CODES)]
        places = [(table, BUFFER_OFFSET, BUFFER_SIZE) for table in file.tables(root, MODEL_BUFFERS)]
        for subgraph in file.tables(root, MODEL_SUBGRAPHS):
            operators = file.tables(subgraph, SUBGRAPH_OPERATORS)
            places += [(table, OPERATOR_OFFSET, OPERATOR_SIZE) for table in operators]
        spans = [(file.long(table, start), file.long(table, size)) for table, start, size in places]
        outside = file.tables(root, MODEL_GROUPS) or file.tables(root, MODEL_EXTERNAL)
    except (struct.error, IndexError, ValueError):
        raise InputError(f"{place} is no whole TFLite file: make it again") from None
    if outside:
        raise InputError(
            f"{place} keeps numbers in other files, which no manifest knows: convert it with the "
            "weights inside"
        )
    _check_spans(spans, len(model), place)
    for code in codes:
        if code.startswith(TENSORFLOWS):
            raise InputError(
                f"{place} has the operator {code[:80]!r} of TensorFlow, which may read other "
                "files: convert it without TensorFlow's own operators (SELECT_TF_OPS)"
            )


def _check_spans(spans: Sequence[tuple[int, int]], size: int, place: str) -> None:
    """Offset and size of what lies behind the flatbuffer; 0 and 1 say that nothing does."""
    for offset, length in spans:
        if offset > 1 and offset + length > size:
            raise InputError(
                f"{place} should have {length} bytes from byte {offset} on, but ends after {size}: "
                "copy or convert it again"
            )


def tap_tflite(model: bytes, *, place: str) -> bytes:
    """A TFLite file -> the same with every layer's output among its outputs, behind its own.

    A name with a dot is a piece of a layer (``conv1.padded``), and left alone.

    Raises:
        InputError: not a TFLite file.
    """
    try:
        file = _File(model)
        (subgraph,) = file.tables(file.follow(0), MODEL_SUBGRAPHS)
        tensors = file.tables(subgraph, SUBGRAPH_TENSORS)
        at = file.field(subgraph, SUBGRAPH_OUTPUTS)
        outputs = file.integers(at)
        for operator in file.tables(subgraph, SUBGRAPH_OPERATORS):
            for index in file.integers(file.field(operator, OPERATOR_OUTPUTS)):
                name = file.text(file.field(tensors[index], TENSOR_NAME))
                if index not in outputs and "." not in name:
                    outputs.append(index)
    except (struct.error, IndexError, ValueError):
        raise InputError(f"{place} is no whole TFLite file: make it again") from None
    end = len(model) + -len(model) % 4
    tapped = bytearray(model.ljust(end, b"\0"))
    struct.pack_into("<I", tapped, at, end - at)
    return bytes(tapped) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


def operator_names(model: bytes, *, place: str) -> tuple[str, ...]:
    """What the first output of each operator is called, in order of execution.

    Raises:
        InputError: not a TFLite file.
    """
    try:
        file = _File(model)
        (subgraph,) = file.tables(file.follow(0), MODEL_SUBGRAPHS)
        tensors = file.tables(subgraph, SUBGRAPH_TENSORS)
        names = []
        for operator in file.tables(subgraph, SUBGRAPH_OPERATORS):
            made = file.integers(file.field(operator, OPERATOR_OUTPUTS))
            names.append(file.text(file.field(tensors[made[0]], TENSOR_NAME)))
    except (struct.error, IndexError, ValueError):
        raise InputError(f"{place} is no whole TFLite file: make it again") from None
    return tuple(names)


def cut_tflite(model: bytes, count: int, *, place: str) -> bytes:
    """A TFLite file -> one that ends behind its first ``count`` operators.

    Its outputs are what these give and none of them reads, so that none is in vain.

    Raises:
        InputError: not a TFLite file, or it has fewer operators.
    """
    try:
        file = _File(model)
        (subgraph,) = file.tables(file.follow(0), MODEL_SUBGRAPHS)
        operators = file.tables(subgraph, SUBGRAPH_OPERATORS)
        if not 0 < count <= len(operators):
            raise ValueError
        made: list[int] = []
        read: set[int] = set()
        for operator in operators[:count]:
            made += file.integers(file.field(operator, OPERATOR_OUTPUTS))
            read.update(file.optional_integers(operator, OPERATOR_INPUTS))
        outputs = [index for index in dict.fromkeys(made) if index not in read]
        at = file.field(subgraph, SUBGRAPH_OUTPUTS)
        vector = file.follow(file.field(subgraph, SUBGRAPH_OPERATORS))
    except (struct.error, IndexError, ValueError):
        raise InputError(f"{place} is no whole TFLite file: make it again") from None
    end = len(model) + -len(model) % 4
    shorter = bytearray(model.ljust(end, b"\0"))
    struct.pack_into("<I", shorter, at, end - at)
    struct.pack_into("<I", shorter, vector, count)
    return bytes(shorter) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


class _File:
    """Reads places in the file; a place that does not exist raises."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def follow(self, at: int) -> int:
        """The place that the offset at ``at`` points to."""
        return at + self._number("<I", at)

    def field(self, table: int, position: int) -> int:
        """Where a table holds a field; ValueError where it holds none."""
        at = self._find(table, position)
        if at is None:
            raise ValueError
        return at

    def tables(self, table: int, position: int) -> list[int]:
        """The tables in a vector that a field of ``table`` points to; none where there is none."""
        at = self._find(table, position)
        if at is None:
            return []
        vector = self.follow(at)
        return [self.follow(vector + 4 + 4 * i) for i in range(self._count(vector))]

    def long(self, table: int, position: int) -> int:
        """A number of 64 bits; 0 where there is none."""
        at = self._find(table, position)
        return 0 if at is None else self._number("<Q", at)

    def optional_text(self, table: int, position: int) -> str:
        """Empty where there is none; damaged text is shown, not refused."""
        at = self._find(table, position)
        return "" if at is None else self._bytes(at).decode(errors="replace")

    def integers(self, at: int) -> list[int]:
        """The numbers, none negative, in the vector that the field at ``at`` points to."""
        vector = self.follow(at)
        numbers = struct.unpack_from(f"<{self._count(vector)}i", self._data, vector + 4)
        if any(number < 0 for number in numbers):
            raise ValueError
        return list(numbers)

    def optional_integers(self, table: int, position: int) -> list[int]:
        """The numbers of a vector; −1 stands for what is absent."""
        at = self._find(table, position)
        if at is None:
            return []
        vector = self.follow(at)
        return list(struct.unpack_from(f"<{self._count(vector)}i", self._data, vector + 4))

    def text(self, at: int) -> str:
        return self._bytes(at).decode()

    def _bytes(self, at: int) -> bytes:
        start = self.follow(at) + 4
        size = self._number("<I", start - 4)
        if start + size > len(self._data):
            raise ValueError
        return self._data[start : start + size]

    def _find(self, table: int, position: int) -> int | None:
        vtable = table - self._number("<i", table)
        if vtable < 0:
            raise ValueError
        if 4 + 2 * position >= self._number("<H", vtable):
            return None
        offset = self._number("<H", vtable + 4 + 2 * position)
        return table + offset if offset else None

    def _count(self, vector: int) -> int:
        count = self._number("<I", vector)
        if vector + 4 * count > len(self._data):
            raise ValueError
        return count

    def _number(self, form: str, at: int) -> int:
        if at < 0:  # struct would count from the end
            raise ValueError
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number
