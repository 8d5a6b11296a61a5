"""What a session of probes found. Format: ``schemas/probes.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.machine import Machine
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
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import Validity
from edgeticket.device_runner.watch import During
from edgeticket.device_runner.windows import Windows

SCHEMA_VERSION = 1
SIZE_LIMIT_BYTES = 64 * 2**20


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
class ProbeReport:
    """One session on one machine; ``windows``: see `probes.turns.steadiness`."""

    schema_version: int
    session: SessionIdentity
    bundle: BundleIdentity
    validity: Validity
    windows: Windows
    probes: tuple[Probe, ...]
    machine: Machine
    before: Readings
    during: During
    after: Readings
    versions: Mapping[str, str]


def write_probes(report: ProbeReport, path: Path) -> None:
    """Write a report of probes, whole or not at all.

    Raises:
        InputError: it would be refused when read, or cannot be written.
    """
    data = format_json(to_json(report))
    parse_probes(data, place=str(path))
    write_atomic(path, data)


def read_probes(path: Path) -> ProbeReport:
    """A file of `write_probes`; errors as `parse_probes`, or it cannot be read."""
    data = read_regular(path, kind="report of probes", limit_bytes=SIZE_LIMIT_BYTES)
    return parse_probes(data, place=str(path))


def parse_probes(data: bytes, *, place: str) -> ProbeReport:
    """Bytes of a report of probes -> the report.

    Raises:
        InputError: not what the schema allows, or of another version.
    """
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, place=place)
    validate(document, load_schema("probes"), place=place)
    return ProbeReport(
        schema_version=document["schema_version"],
        session=read_session(document["session"]),
        bundle=BundleIdentity(**document["bundle"]),
        validity=read_validity(document["validity"]),
        windows=Windows(**flat_fields(document["windows"])),
        probes=tuple(map(_probe, document["probes"])),
        machine=Machine(**flat_fields(document["machine"])),
        before=read_readings(document["before"]),
        during=read_during(document["during"]),
        after=read_readings(document["after"]),
        versions=document["versions"],
    )


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
