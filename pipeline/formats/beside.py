"""Files in which an ONNX file keeps numbers: in its own folder, and nowhere else."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
from pathlib import Path

import onnx
from onnx import TensorProto

from edgeticket.device_runner.errors import InputError

BITS = {
    **dict.fromkeys((TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1), 4),
    **{getattr(TensorProto, name): 2 for name in ("UINT2", "INT2") if hasattr(TensorProto, name)},
}


class Beside:
    """The files beside an ONNX file; each is opened once, and closed with ``stack``."""

    def __init__(self, file: Path, stack: contextlib.ExitStack) -> None:
        self._file, self._stack = file, stack
        self._opened: dict[str, int] = {}
        self._digests: dict[str, str] = {}

    def numbers_of(self, tensor: TensorProto) -> bytes:
        """The bytes of a tensor that lies in one of them.

        Raises:
            InputError: it lies elsewhere, or the file is missing, too short or another one.
        """
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        place = f"{self._file}: {tensor.name or 'a tensor'} lies in {location!r}"
        needed = size_bytes(tensor, str(self._file))
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
        check_regular(opened, place)
        self._opened[location] = opened
        return opened

    def _digest(self, location: str, opened: int) -> str:
        if location not in self._digests:
            with open(opened, "rb", closefd=False) as file:
                file.seek(0)
                self._digests[location] = hashlib.file_digest(file, "sha1").hexdigest()
        return self._digests[location]


def check_regular(opened: int, place: str) -> None:
    """Refuse pipes, devices and folders; ``opened``: a file descriptor.

    Raises:
        InputError: it is one of these.
    """
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        raise InputError(f"{place} is not a regular file: give one")


def size_bytes(tensor: TensorProto, place: str) -> int:
    """What the numbers of a tensor take as raw data.

    Raises:
        InputError: its shape or type is none, or it holds texts.
    """
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
