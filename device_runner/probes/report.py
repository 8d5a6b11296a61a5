"""What a session of probes found. Format: ``schemas/probes.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.report import RuntimeIdentity
from edgeticket.device_runner.session_record import (
    SessionRecord,
    parse_record,
    read_record,
    write_record,
)
from edgeticket.device_runner.strict_json import flat_fields
from edgeticket.device_runner.unavailable import Unavailable

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ProbeTime:
    """``p50_ns`` is the median of ``turns_ns``, which are medians of turns in their order."""

    p50_ns: int
    min_ns: int
    queries: int
    turns_ns: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """One artifact of the session."""

    artifact: str
    sha256: str
    runtime: RuntimeIdentity
    time: ProbeTime | Unavailable


@dataclass(frozen=True)
class ProbeReport(SessionRecord):
    """One session on one machine; ``windows``: see `probes.turns.steadiness`."""

    probes: tuple[Probe, ...]


def write_probes(report: ProbeReport, path: Path) -> None:
    """Write a report of probes, whole or not at all.

    Raises:
        InputError: it would be refused when read, or cannot be written.
    """
    write_record(report, path, parse=parse_probes)


def read_probes(path: Path) -> ProbeReport:
    """A file of `write_probes`; errors as `parse_probes`, or it cannot be read."""
    return parse_probes(read_record(path, kind="report of probes"), place=str(path))


def parse_probes(data: bytes, *, place: str) -> ProbeReport:
    """Bytes of a report of probes -> the report.

    Raises:
        InputError: not what the schema allows, or of another version.
    """
    fields = parse_record(data, schema="probes", version=SCHEMA_VERSION, place=place)
    return ProbeReport(**{**fields, "probes": tuple(map(_probe, fields["probes"]))})


def _probe(document: Mapping[str, Any]) -> Probe:
    time = document["time"]
    return Probe(
        document["artifact"],
        document["sha256"],
        RuntimeIdentity(**flat_fields(document["runtime"])),
        Unavailable(time["unavailable"])
        if set(time) == {"unavailable"}
        else ProbeTime(**flat_fields(time)),
    )
