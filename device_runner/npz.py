"""Reads and writes .npz files, arrays by name, without evaluating anything: no pickle, no header
that is code. What is read is bounded before it is inflated."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.npy import DTYPES, format_npy, parse_npy
from edgeticket.device_runner.stores import RATIO_FREE_BYTES, RATIO_LIMIT, ZIP_ERRORS

Array = npt.NDArray[Any]

LIMIT_BYTES = 2 * 2**30  # of all arrays together, which are held in memory
ARRAY_LIMIT = 64
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say: equal arrays, equal bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def parse_npz(data: bytes, *, place: str) -> dict[str, Array]:
    """Bytes of an .npz file as numpy.savez writes it -> its arrays, read-only, of plain numbers.

    Raises:
        InputError: another kind of file, a damaged one, arrays that are too many or too large, or
            of anything but numbers.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except ZIP_ERRORS as error:
        raise InputError(f"{place} is no .npz file: {error}") from None
    with archive:
        entries = archive.infolist()
        if len(entries) > ARRAY_LIMIT:
            raise InputError(f"{place} has {len(entries)} arrays, allowed: {ARRAY_LIMIT}")
        if sum(entry.file_size for entry in entries) > LIMIT_BYTES:
            raise InputError(f"{place} holds more than {LIMIT_BYTES} bytes: give fewer samples")
        arrays: dict[str, Array] = {}
        for entry in entries:
            name = entry.orig_filename[: -len(".npy")]
            is_array = entry.orig_filename.endswith(".npy") and _NAME.fullmatch(name)
            if not is_array or name in arrays:
                raise InputError(
                    f"{place} holds {entry.orig_filename[:80]!r}: arrays are called by words, each "
                    "once, as numpy.savez writes them"
                )
            arrays[name] = parse_npy(
                _member(archive, entry, len(data), f"{place}: {name}"),
                dtypes=DTYPES,
                ranks=range(1, 9),
                place=f"{place}: {name}",
                may_be_empty=True,
            )
    return arrays


def format_npz(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name -> bytes of an .npz file, not compressed; equal arrays give equal bytes.

    Raises:
        InputError: an array that `parse_npz` would refuse.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            if array.dtype.name not in DTYPES or not _NAME.fullmatch(name):
                raise InputError(
                    f"targets: {name!r} is {array.dtype}: arrays are called by words, and of "
                    f"{', '.join(DTYPES)}"
                )
            entry = zipfile.ZipInfo(f"{name}.npy", ZIP_DATE)
            archive.writestr(entry, format_npy(array.astype(array.dtype.newbyteorder("<"))))
    return file.getvalue()


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int, place: str) -> bytes:
    """Inflates no further than the directory says, whatever the data hold."""
    if entry.flag_bits & 1 or entry.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise InputError(f"{place} is encrypted, or compressed by another method than deflate")
    limit = max(RATIO_FREE_BYTES, RATIO_LIMIT * min(entry.compress_size, size))
    if entry.file_size > limit:
        raise InputError(f"{place} claims to inflate more than {RATIO_LIMIT} times: refused")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size + 1)
    except ZIP_ERRORS as error:
        raise InputError(f"{place} is damaged: {error}") from None
