"""What was found of the layers of one artifact. Format: ``schemas/layers.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Protocol

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.probes.report import ProbeTime
from edgeticket.device_runner.readings import Readings
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.report import (
    BundleIdentity,
    RuntimeIdentity,
    SessionIdentity,
    read_during,
    read_readings,
    read_session,
    read_validity,
)
from edgeticket.device_runner.runtimes.session import Array, Session
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.validity import Validity
from edgeticket.device_runner.watch import During
from edgeticket.device_runner.windows import Windows

SCHEMA_VERSION = 1
SIZE_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Layer:
    """``precision``: int8 where it gives codes, else fp32; ``by``: who ran it."""

    name: str
    kind: str
    precision: str
    by: str
    time_ns: float


@dataclass(frozen=True)
class LayeredArtifact:
    """Its id in the bundle, and the hash of its file."""

    id: str
    sha256: str


@dataclass(frozen=True)
class LayerTimes:
    """``whole``: a query of the file as it is.

    layers: by medians, which count on a quiet machine. fastest: by the fastest queries.
    """

    whole: ProbeTime
    layers: tuple[Layer, ...]
    fastest: tuple[Layer, ...]
    windows: Windows


@dataclass(frozen=True)
class Sources:
    """A file, and a session of it with a query."""

    model: bytes
    entry: Artifact
    session: Session
    query: Sequence[Array]
    threads: int


class Beginnings(Protocol):
    """A file that can be ended behind any of its operators."""

    count: int  # of operators

    def begin(self, count: int) -> tuple[Callable[[Any], Any], Layer]:
        """What runs the first ``count`` operators, and the last of them, without a time."""


@dataclass(frozen=True)
class LayerReport:
    """One artifact, one session, one machine."""

    schema_version: int
    session: SessionIdentity
    bundle: BundleIdentity
    artifact: LayeredArtifact
    runtime: RuntimeIdentity
    statistic: str  # p50; min, of the fastest queries, where the session is INVALID
    validity: Validity
    windows: Windows
    whole_ns: int
    layers: tuple[Layer, ...]
    machine: Machine
    before: Readings
    during: During
    after: Readings
    versions: Mapping[str, str]

    @property
    def sum_ns(self) -> float:
        """Of all layers."""
        return sum(layer.time_ns for layer in self.layers)

    @property
    def rest_ns(self) -> float:
        """What a query takes besides: the call, copies in and out, steps from layer to layer."""
        return self.whole_ns - self.sum_ns


def write_layers(report: LayerReport, path: Path) -> None:
    """Write a report of layers, whole or not at all.

    Raises:
        InputError: it would be refused when read, or cannot be written.
    """
    data = format_json(to_json(report))
    parse_layers(data, place=str(path))
    write_atomic(path, data)


def read_layers(path: Path) -> LayerReport:
    """A file of `write_layers`; errors as `parse_layers`, or it cannot be read."""
    data = read_regular(path, kind="report of layers", limit_bytes=SIZE_LIMIT_BYTES)
    return parse_layers(data, place=str(path))


def parse_layers(data: bytes, *, place: str) -> LayerReport:
    """Bytes of a report of layers -> the report.

    Raises:
        InputError: not what the schema allows, or of another version.
    """
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, place=place)
    validate(document, load_schema("layers"), place=place)
    fields: dict[str, Any] = {
        "session": read_session(document["session"]),
        "bundle": BundleIdentity(**document["bundle"]),
        "artifact": LayeredArtifact(**document["artifact"]),
        "runtime": RuntimeIdentity(**flat_fields(document["runtime"])),
        "validity": read_validity(document["validity"]),
        "windows": Windows(**flat_fields(document["windows"])),
        "layers": tuple(Layer(**layer) for layer in document["layers"]),
        "machine": Machine(**flat_fields(document["machine"])),
        "before": read_readings(document["before"]),
        "during": read_during(document["during"]),
        "after": read_readings(document["after"]),
    }
    return LayerReport(**{**document, **fields})
