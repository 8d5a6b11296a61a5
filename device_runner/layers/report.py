"""What was found of the layers of one artifact. Format: ``schemas/layers.schema.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Protocol

from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.probes.report import ProbeTime
from edgeticket.device_runner.report import RuntimeIdentity
from edgeticket.device_runner.runtimes.session import Array, Session
from edgeticket.device_runner.session_record import (
    SessionRecord,
    parse_record,
    read_record,
    write_record,
)
from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.windows import Windows

SCHEMA_VERSION = 1


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
class LayerReport(SessionRecord):
    """One artifact, one session, one machine."""

    artifact: LayeredArtifact
    runtime: RuntimeIdentity
    statistic: str  # p50; min, of the fastest queries, where the session is INVALID
    whole_ns: int
    layers: tuple[Layer, ...]

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
    write_record(report, path, parse=parse_layers)


def read_layers(path: Path) -> LayerReport:
    """A file of `write_layers`; errors as `parse_layers`, or it cannot be read."""
    return parse_layers(read_record(path, kind="report of layers"), place=str(path))


def parse_layers(data: bytes, *, place: str) -> LayerReport:
    """Bytes of a report of layers -> the report.

    Raises:
        InputError: not what the schema allows, or of another version.
    """
    fields = parse_record(data, schema="layers", version=SCHEMA_VERSION, place=place)
    times: dict[str, Any] = {
        "artifact": LayeredArtifact(**fields["artifact"]),
        "runtime": RuntimeIdentity(**flat_fields(fields["runtime"])),
        "layers": tuple(Layer(**layer) for layer in fields["layers"]),
    }
    return LayerReport(**{**fields, **times})
