"""ONNX files and bytes -> `onnx.ModelProto`: the one place where the host reads them.

A file may keep its numbers in others beside it (``external_data``). They are taken in when the file
is read, so that everything behind this module is whole, and one hash says all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, EncodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from edgeticket.device_runner.errors import InputError

LIMIT_BYTES = 2**31 - 1  # Protocol Buffers end here
BITS = {
    **dict.fromkeys((TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1), 4),
    **{getattr(TensorProto, name): 2 for name in ("UINT2", "INT2") if hasattr(TensorProto, name)},
}


def parse_onnx(data: bytes, *, place: str) -> onnx.ModelProto:
    """Bytes -> a model whose names are text, and whose numbers are all in it.

    Whether it is valid ONNX is another question; see `validate_onnx`.

    Raises:
        InputError: no whole ONNX file; numbers in another file.
    """
    model = _parse(data, place)
    for tensor in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise InputError(
                f"{place} keeps the numbers of {tensor.name or 'a tensor'} in another file: give "
                "the file itself with that one beside it, or export it with the weights inside"
            )
    return model


def read_onnx(file: Path) -> bytes:
    """A file -> its bytes, with the numbers that it keeps in files beside it.

    Those lie in its own folder or below, under plain relative names, and are regular files; links
    may not lead out of the folder.

    Raises:
        InputError: not readable, no whole ONNX file, larger than ``LIMIT_BYTES``; a file beside it
            is missing, too short, or lies elsewhere.
    """
    data = read_file(file)
    model = _parse(data, str(file))
    outside = [t for t in tensors_of(model) if t.data_location == TensorProto.EXTERNAL]
    if not outside:
        return data
    total = len(data) + sum(_size_bytes(tensor, str(file)) for tensor in outside)
    if total > LIMIT_BYTES:
        raise InputError(
            f"{file} has {total / 1e9:.1f} GB with its weights: more than 2 GB are no ONNX file in "
            "one piece, and nothing for a small device; give a smaller network"
        )
    with contextlib.ExitStack() as stack:
        beside = _Beside(file, stack)
        for tensor in outside:
            tensor.raw_data = beside.numbers_of(tensor)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    try:
        whole: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InputError(
            f"{file} cannot be written in one piece ({error}): export it again"
        ) from None
    return whole


def validate_onnx(model: onnx.ModelProto, *, place: str) -> None:
    """Hold a model against ONNX's own definition.

    Raises:
        InputError: it is not valid.
    """
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        cure = "use standard ONNX operators" if "No Op registered" in reason else "export it again"
        raise InputError(f"{place} is not valid ONNX ({reason}): {cure}") from None


def read_file(file: Path) -> bytes:
    """A regular file, whole.

    Raises:
        InputError: it cannot be read, is a pipe or a device, or larger than ``LIMIT_BYTES``.
    """
    try:
        # Non-blocking: opening a named pipe would wait for a writer.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            _check_regular(opened.fileno(), str(file))
            data = opened.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    if len(data) > LIMIT_BYTES:
        raise InputError(f"{file} is larger than 2 GB: no runtime takes that in one piece")
    return data


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor: initializers, sparse ones, attributes, those of branches and functions."""
    return (message for message in _messages(model) if isinstance(message, TensorProto))


def constants_of(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """The tensors that a graph holds by name: initializers, and the values of Constant nodes."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = attribute.t
    return constants


class _Beside:
    """The files beside an ONNX file; each is opened once."""

    def __init__(self, file: Path, stack: contextlib.ExitStack) -> None:
        self._file, self._stack = file, stack
        self._opened: dict[str, int] = {}
        self._digests: dict[str, str] = {}

    def numbers_of(self, tensor: TensorProto) -> bytes:
        """The bytes of a tensor that lies in one of them."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        place = f"{self._file}: {tensor.name or 'a tensor'} lies in {location!r}"
        needed = _size_bytes(tensor, str(self._file))
        offset = _whole(entries.get("offset", "0"), f"{place} at offset")
        length = _whole(entries.get("length", str(needed)), f"{place} with length")
        if length != needed:
            raise InputError(
                f"{place} with {length} bytes, but its {list(tensor.dims)} values take {needed}: "
                "export it again"
            )
        opened = self._open(location, place)
        size = os.fstat(opened).st_size
        if offset + length > size:
            raise InputError(
                f"{place} from byte {offset} to {offset + length}, but that file has {size} bytes: "
                "copy it again"
            )
        if "checksum" in entries and self._digest(location, opened) != entries["checksum"].lower():
            raise InputError(f"{place}, which is another file (its SHA-1 differs): copy it again")
        return os.pread(opened, length, offset) if length else b""

    def _open(self, location: str, place: str) -> int:
        if location in self._opened:
            return self._opened[location]
        is_plain = location.isprintable() and not set(location) & set("\\:")
        if not is_plain or not location or location[0] == "/" or ".." in location.split("/"):
            raise InputError(
                f"{place}, which is no plain name of a file beside it: export it again"
            )
        folder = self._file.parent.resolve()
        try:
            target = (folder / location).resolve(strict=True)
            if not target.is_relative_to(folder):
                raise InputError(
                    f"{place}, a link that leads out of {folder}: copy both files into one folder"
                )
            opened = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise InputError(
                f"{place}, but {folder / location} is missing: copy it there, or export with the "
                "weights inside"
            ) from None
        except (OSError, RuntimeError) as error:
            raise InputError(f"{place}, which cannot be read: {error}") from None
        self._stack.callback(os.close, opened)
        _check_regular(opened, place)
        self._opened[location] = opened
        return opened

    def _digest(self, location: str, opened: int) -> str:
        if location not in self._digests:
            with open(opened, "rb", closefd=False) as file:
                file.seek(0)
                self._digests[location] = hashlib.file_digest(file, "sha1").hexdigest()
        return self._digests[location]


def _check_regular(opened: int, place: str) -> None:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        raise InputError(f"{place} is not a regular file: give one")


def _size_bytes(tensor: TensorProto, place: str) -> int:
    """What the numbers of a tensor take as raw data."""
    name = f"{place}: {tensor.name or 'a tensor'}"
    if min(tensor.dims, default=0) < 0:
        raise InputError(f"{name} has the shape {list(tensor.dims)}: export it again")
    bits = BITS.get(tensor.data_type)
    if bits is None:
        try:
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        except KeyError:
            raise InputError(
                f"{name} is of ONNX's type {tensor.data_type}: export it again"
            ) from None
        if kind.kind == "O":
            raise InputError(f"{name} holds texts in another file: export it with them inside")
        bits = 8 * int(kind.itemsize)
    count: int = math.prod(tensor.dims)
    return (count * bits + 7) // 8


def _whole(text: str, place: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InputError(f"{place} {text[:24]!r}, which is no size: export it again")
    return int(text)


def _parse(data: bytes, place: str) -> onnx.ModelProto:
    if len(data) > LIMIT_BYTES:
        raise InputError(f"{place} is larger than 2 GB: no runtime takes that in one piece")
    try:
        model = onnx.load_model_from_string(data)
        for message in _messages(model):
            _check_texts(message)
    except (DecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{place} is no whole ONNX file ({reason}): export or copy it again"
        ) from None
    if not model.graph.node:
        raise InputError(f"{place} is no whole ONNX file, or has no operators: export it again")
    return model


def _messages(message: Message) -> Iterator[Message]:
    """A message and all in it, but for what a tensor holds."""
    yield message
    if isinstance(message, TensorProto):
        return
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if _is_many(field) else (value,):
                yield from _messages(inner)


def _check_texts(message: Message) -> None:
    """Protobuf hands out damaged text as bytes, and fails only where somebody writes it."""
    if isinstance(message, TensorProto):
        texts = [message.name]
    else:
        texts = []
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                texts += value if _is_many(field) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{text[:40]!r} is no text")


def _is_many(field: FieldDescriptor) -> bool:
    repeated = getattr(field, "is_repeated", None)  # protobuf before 6.31 has a label alone
    return bool(field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else repeated)
