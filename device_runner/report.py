"""The report of one artifact measured once. Format: ``schemas/report.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_runner.atomic import write_atomic
from device_runner.errors import InputError
from device_runner.latency import Latency, summarise
from device_runner.machine import Machine
from device_runner.manifest import Artifact, artifact_fields, check_tensor
from device_runner.readings import Readings, Throttling
from device_runner.schema import check_version, load_schema, validate
from device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from device_runner.unavailable import Unavailable

SCHEMA_VERSION = 1
SIZE_LIMIT_BYTES = 256 * 2**20  # some ten million queries


@dataclass(frozen=True)
class SessionIdentity:
    """One run of the instrument; artifacts of one session were measured interleaved."""

    id: str
    started_utc: str  # 2026-01-31T12:00:00Z
    artifacts: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class BundleIdentity:
    """``digest``: SHA-256 of manifest.json, and through it of every file of the bundle."""

    name: str
    digest: str


@dataclass(frozen=True)
class MeasuredArtifact(Artifact):
    """The manifest's entry with the model file's own identity."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class RuntimeIdentity:
    """What executed the model."""

    name: str
    package: str
    version: str | Unavailable
    threads: int
    delegates: tuple[str, ...] | Unavailable
    withheld: tuple[str, ...]  # instruction sets kept from it: amx


@dataclass(frozen=True)
class PreprocessingTime:
    """From one stored sample to one prepared input, in nanoseconds; not part of a query."""

    count: int
    p50: int | Unavailable
    p90: int | Unavailable


@dataclass(frozen=True)
class ColdStart:
    """First use in a fresh process; the import of the runtime is not part of ``load_ns``."""

    load_ns: int | Unavailable
    first_inference_ns: int | Unavailable
    peak_rss_bytes: int | Unavailable


@dataclass(frozen=True)
class Accuracy:
    """All samples through the artifact; shares 0..1, class index per sample."""

    count: int
    top1: float
    top5: float | Unavailable
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    outputs_sha256: str
    samples_sha256: str  # reports that share it were measured on the same samples


@dataclass(frozen=True)
class Report:
    """One artifact, one session, one machine."""

    schema_version: int
    session: SessionIdentity
    bundle: BundleIdentity
    artifact: MeasuredArtifact
    runtime: RuntimeIdentity
    latency: Latency
    preprocessing_ns: PreprocessingTime
    cold: ColdStart
    accuracy: Accuracy
    machine: Machine
    before: Readings
    after: Readings
    versions: Mapping[str, str]


def read_report(path: Path) -> Report:
    """Read and check a report file.

    Raises:
        InputError: not readable, not what the schema allows, from a newer edgeticket, or
            numbers that contradict one another.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read report {path}: {error}") from None
    if len(data) > SIZE_LIMIT_BYTES:
        raise InputError(f"{path} is larger than {SIZE_LIMIT_BYTES} bytes: no report is")
    return parse_report(data, place=str(path))


def write_report(report: Report, path: Path) -> None:
    """Write a report file, whole or not at all.

    Raises:
        InputError: the report would be refused when read, or the file cannot be written.
    """
    data = format_json(to_json(report))
    parse_report(data, place=str(path))
    write_atomic(path, data)


def parse_report(data: bytes, *, place: str) -> Report:
    """Bytes of a report file -> report; errors as `read_report`."""
    document = parse_json(data, place=place)
    check_version(document, known=SCHEMA_VERSION, place=place)
    validate(document, load_schema("report"), place=place)
    report = Report(
        schema_version=document["schema_version"],
        session=SessionIdentity(**flat_fields(document["session"])),
        bundle=BundleIdentity(**document["bundle"]),
        artifact=MeasuredArtifact(**artifact_fields(document["artifact"])),
        runtime=RuntimeIdentity(**flat_fields(document["runtime"])),
        latency=Latency(**flat_fields(document["latency"])),
        preprocessing_ns=PreprocessingTime(**flat_fields(document["preprocessing_ns"])),
        cold=ColdStart(**flat_fields(document["cold"])),
        accuracy=Accuracy(**flat_fields(document["accuracy"])),
        machine=Machine(**flat_fields(document["machine"])),
        before=_readings(document["before"]),
        after=_readings(document["after"]),
        versions=document["versions"],
    )
    _check(report, place)
    return report


def _readings(document: Mapping[str, Any]) -> Readings:
    fields = flat_fields(document)
    if not isinstance(fields["throttling"], Unavailable):
        fields["throttling"] = Throttling(**flat_fields(fields["throttling"]))
    return Readings(**fields)


def _check(report: Report, place: str) -> None:
    """What the schema cannot say: the parts must agree."""
    check_tensor(report.artifact.input, place=f"{place}: input")
    check_tensor(report.artifact.output, place=f"{place}: output")
    latency = report.latency
    if latency != summarise(latency.samples_ns, warmup_queries=latency.warmup_queries):
        raise InputError(f"{place} at /latency: the summary does not follow from samples_ns")
    accuracy, classes = report.accuracy, report.artifact.output.shape[-1]
    lengths = len(accuracy.predictions), len(accuracy.labels)
    if lengths != (accuracy.count, accuracy.count):
        raise InputError(
            f"{place} at /accuracy: count is {accuracy.count}, but there are "
            f"{lengths[0]} predictions and {lengths[1]} labels"
        )
    right = sum(p == label for p, label in zip(accuracy.predictions, accuracy.labels))
    if abs(accuracy.top1 - right / accuracy.count) > 1e-9:
        raise InputError(
            f"{place} at /accuracy/top1: {accuracy.top1} does not follow from the predictions, "
            f"of which {right} in {accuracy.count} are right"
        )
    highest = max((*accuracy.predictions, *accuracy.labels))
    if highest >= classes:
        raise InputError(
            f"{place} at /accuracy: class {highest} is beyond the {classes} outputs of the artifact"
        )
    if report.artifact.id not in report.session.artifacts:
        raise InputError(
            f"{place} at /session/artifacts: {report.artifact.id!r} was not part of the session"
        )
    if report.artifact.runtime != report.runtime.name:
        raise InputError(
            f"{place} at /runtime/name: {report.runtime.name} cannot have run an artifact "
            f"for {report.artifact.runtime}"
        )
