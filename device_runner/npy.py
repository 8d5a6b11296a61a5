"""Reads .npy files (format 1.0), as ``numpy.save`` writes them, without evaluating anything."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[|<][a-z]\d{1,2})', 'fortran_order': False, "
    rb"'shape': \((?P<shape>\d{1,18}(?:, \d{1,18}){0,7}),?\), \} *\n"
)
_DESCRIPTIONS = {
    "uint8": "|u1",
    "int8": "|i1",
    "bool": "|b1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "float32": "<f4",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float16": "<f2",
    "float64": "<f8",
}
DTYPES = tuple(_DESCRIPTIONS)  # what can be read
_WRITTEN = {"uint8": "|u1", "int8": "|i1", "float32": "<f4"}


def parse_npy(
    data: bytes,
    *,
    dtypes: Sequence[str],
    ranks: Sequence[int],
    place: str,
    may_be_empty: bool = False,
) -> npt.NDArray[Any]:
    """Bytes of a .npy file -> read-only view of them, of one of the dtypes and ranks asked for.

    Raises:
        InputError: another kind of file, dtype or rank, an empty array unless it ``may_be_empty``,
            or a header that promises another number of bytes than follow it.
    """
    start = len(_MAGIC) + 2 + int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[len(_MAGIC) + 2 : start])
    if not data.startswith(_MAGIC) or header is None:
        raise InputError(f"{place} is not a .npy file (format 1.0, C order) as numpy.save writes")
    descr = header["descr"].decode("ascii")
    shape = tuple(int(size) for size in header["shape"].split(b", "))
    dtype = next((name for name in dtypes if _DESCRIPTIONS[name] == descr), None)
    if dtype is None or len(shape) not in ranks:
        wanted = " or ".join(dtypes), " or ".join(map(str, ranks))
        raise InputError(
            f"{place} holds {descr} of shape {shape}: it must be {wanted[0]} with {wanted[1]} "
            "dimensions"
        )
    promised = np.dtype(descr).itemsize
    for size in shape:
        promised *= size  # Python integers: no overflow
    if promised != len(data) - start or (promised == 0 and not may_be_empty):
        raise InputError(
            f"{place} promises shape {shape} of {dtype}, {promised} bytes, "
            f"and holds {len(data) - start}"
        )
    return np.frombuffer(data, dtype=descr, offset=start).reshape(shape)


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What stands before the numbers of a .npy file in C order; the same for any numpy."""
    sizes = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
    head = f"{{'descr': '{_WRITTEN[dtype]}', 'fortran_order': False, 'shape': ({sizes}), }}"
    start = len(_MAGIC) + 2
    length = -(-(start + len(head) + 1) // 64) * 64 - start
    return _MAGIC + length.to_bytes(2, "little") + f"{head:{length - 1}}\n".encode("ascii")


def format_npy(array: npt.NDArray[Any]) -> bytes:
    """Array -> bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
