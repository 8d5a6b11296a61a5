"""The taps file: a .npz with one array [samples, ...] for each layer, and taps.json.

``numpy.load`` reads it. It is written and read one sample at a time, so that memory holds one
sample's layers and no more. Format of taps.json: ``schemas/taps.schema.json``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.atomic import open_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.npy import npy_header
from edgeticket.device_runner.regular import is_regular
from edgeticket.device_runner.report import BundleIdentity, RuntimeIdentity
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

SCHEMA_VERSION = 1
FACTS = "taps.json"
FACTS_LIMIT_BYTES = 8 * 2**20
DTYPES = ("float32", "int8", "uint8")
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

Array = npt.NDArray[Any]
Row = Mapping[str, Array]
"""Value -> its array [1, ...] for one sample."""


@dataclass(frozen=True)
class TappedArtifact:
    """Which model file was tapped."""

    id: str
    sha256: str


@dataclass(frozen=True)
class TappedValue:
    """One array of the file; shape without the samples, as the runtime has it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Kernels:
    """Operators by type after the runtime's optimiser: of the file as it is, and with taps."""

    plain: Mapping[str, int]
    tapped: Mapping[str, int]


@dataclass(frozen=True)
class TapFacts:
    """taps.json: what was tapped, where, and whether tapping changed anything."""

    schema_version: int
    bundle: BundleIdentity
    artifact: TappedArtifact
    runtime: RuntimeIdentity
    machine: Machine
    versions: Mapping[str, str]
    samples: int
    output: str
    values: tuple[TappedValue, ...]
    same_outputs: int
    output_difference: float
    kernels: Kernels | Unavailable


class TapsWriter:
    """Takes one sample after another; `finish` makes the file."""

    def __init__(self, folder: Path, values: tuple[TappedValue, ...]) -> None:
        self._values = values
        self._parts = [folder / str(i) for i in range(len(values))]

    def add(self, row: Row) -> None:
        """Keep one sample's layers, which must be as `values` says."""
        for value, part in zip(self._values, self._parts):
            array = np.ascontiguousarray(row[value.name])
            if array.shape != value.shape or array.dtype != value.dtype:
                raise InputError(
                    f"{value.name} came as {array.dtype} {list(array.shape)} where the runtime "
                    f"promised {value.dtype} {list(value.shape)}"
                )
            with open(part, "ab") as file:
                file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())

    def finish(self, facts: TapFacts, path: Path) -> None:
        """Write the file, whole or not at all."""
        with open_atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo(FACTS, _ZIP_DATE), "w") as member:
                member.write(format_json(to_json(facts)))
            for value, part in zip(self._values, self._parts):
                entry = zipfile.ZipInfo(f"{value.name}.npy", _ZIP_DATE)
                with archive.open(entry, "w", force_zip64=True) as member, open(part, "rb") as rows:
                    member.write(_header(value, facts.samples))
                    shutil.copyfileobj(rows, member, 2**20)


@contextlib.contextmanager
def taps_writer(values: tuple[TappedValue, ...], *, beside: Path) -> Iterator[TapsWriter]:
    """A writer that spools on the disk where the file will be.

    Raises:
        InputError: the disk is full, or cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".taps-", dir=beside) as folder:
            yield TapsWriter(Path(folder), values)
    except OSError as error:
        raise InputError(f"cannot write taps in {beside}: {error.strerror or error}") from None


class Taps:
    """An open taps file."""

    def __init__(self, facts: TapFacts, members: Mapping[str, IO[bytes]], *, place: str) -> None:
        self.facts, self.place = facts, place
        self._members = members

    def rows(self) -> Iterator[dict[str, Array]]:
        """Every sample's layers, one sample at a time; can be gone through once.

        Raises:
            InputError: the file is damaged.
        """
        for _ in range(self.facts.samples):
            row = {}
            for value in self.facts.values:
                data = _read(self._members[value.name], value.size_bytes, self.place)
                array: Array = np.frombuffer(data, np.dtype(value.dtype).newbyteorder("<"))
                row[value.name] = array.reshape(value.shape)
            yield row


@contextlib.contextmanager
def open_taps(path: Path) -> Iterator[Taps]:
    """Open a taps file for reading, as input that nobody vouches for.

    Raises:
        InputError: not a taps file, damaged, from a newer edgeticket, or parts that contradict
            one another.
    """
    place = str(path)
    if os.path.lexists(path) and not is_regular(path):
        raise InputError(f"{place} is no plain file, so no taps file either")
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            entries = {entry.filename: entry for entry in archive.infolist()}
            if FACTS not in entries or any(e.compress_type for e in entries.values()):
                raise InputError(f"{place} is no taps file as `device-runner tap` writes it")
            with archive.open(FACTS) as member:
                data = member.read(FACTS_LIMIT_BYTES + 1)
            facts = _parse(data, place=f"{place}: {FACTS}")
            members = {}
            for value in facts.values:
                header, name = _header(value, facts.samples), f"{value.name}.npy"
                size = len(header) + facts.samples * value.size_bytes
                if name not in entries or entries[name].file_size != size:
                    raise InputError(f"{place}: {name} is missing or not of {size} bytes")
                members[value.name] = stack.enter_context(archive.open(name))
                if members[value.name].read(len(header)) != header:
                    raise InputError(f"{place}: {name} is not the array that {FACTS} describes")
        except FileNotFoundError:
            raise InputError(f"{place} does not exist: `device-runner tap` writes it") from None
        except _ZIP_ERRORS as error:
            raise InputError(f"{place} is no usable taps file: {error}") from None
        yield Taps(facts, members, place=place)


def _parse(data: bytes, *, place: str) -> TapFacts:
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, place=place)
    validate(document, load_schema("taps"), place=place)
    values = tuple(TappedValue(**flat_fields(value)) for value in document["values"])
    kernels = document["kernels"]
    facts = TapFacts(
        schema_version=document["schema_version"],
        bundle=BundleIdentity(**document["bundle"]),
        artifact=TappedArtifact(**document["artifact"]),
        runtime=RuntimeIdentity(**flat_fields(document["runtime"])),
        machine=Machine(**flat_fields(document["machine"])),
        versions=document["versions"],
        samples=document["samples"],
        output=document["output"],
        values=values,
        same_outputs=document["same_outputs"],
        output_difference=document["output_difference"],
        kernels=Unavailable(kernels["unavailable"])
        if "unavailable" in kernels
        else Kernels(**kernels),
    )
    names = {value.name for value in values}
    if len(names) < len(values) or facts.output not in names or facts.same_outputs > facts.samples:
        raise InputError(f"{place} contradicts itself: names repeat, or the output is not tapped")
    return facts


def _header(value: TappedValue, samples: int) -> bytes:
    return npy_header(value.dtype, (samples, *value.shape))


def _read(member: IO[bytes], size: int, place: str) -> bytes:
    try:
        data = member.read(size)
    except _ZIP_ERRORS as error:
        raise InputError(f"{place} is damaged: {error}") from None
    if len(data) != size:
        raise InputError(f"{place} ends too early: copy it again")
    return data


_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
