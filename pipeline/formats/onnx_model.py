"""ONNX files and bytes -> `onnx.ModelProto`: the one place where the host reads them.

A file may keep its numbers in others beside it (``external_data``). They are taken in when the file
is read, so that everything behind this module is whole, and one hash says all of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, EncodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.beside import Beside, check_regular, size_bytes

LIMIT_BYTES = 2**31 - 1  # Protocol Buffers end here


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
    total = len(data) + sum(size_bytes(tensor, str(file)) for tensor in outside)
    if total > LIMIT_BYTES:
        raise InputError(
            f"{file} has {total / 1e9:.1f} GB with its weights: more than 2 GB are no ONNX file in "
            "one piece, and nothing for a small device; give a smaller network"
        )
    with contextlib.ExitStack() as stack:
        beside = Beside(file, stack)
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
        with open(file, "rb", opener=_open_at_once) as opened:
            check_regular(opened.fileno(), str(file))
            # Not up to the limit: room for all that may be read is taken before the first byte is.
            if os.fstat(opened.fileno()).st_size > LIMIT_BYTES:
                raise InputError(f"{file} is larger than 2 GB: no runtime takes that in one piece")
            return opened.read()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except MemoryError:
        raise InputError(f"cannot read {file}: it does not fit into memory") from None


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


def _open_at_once(path: str, flags: int) -> int:
    """Opening a named pipe would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


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
