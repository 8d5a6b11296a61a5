"""The report of one artifact measured once. Format: ``schemas/report.schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, TypeVar

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.cooldown import Cooldown
from edgeticket.device_runner.energy import Energy, Interval, SourceEnergy
from edgeticket.device_runner.fidelity import Between, Fidelity, OutputFidelity
from edgeticket.device_runner.latency import Latency
from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.manifest import artifact_fields
from edgeticket.device_runner.manifest.older import OLDEST, report_of_today
from edgeticket.device_runner.placement import Placement
from edgeticket.device_runner.readings import Readings, Throttling
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.report.checks import check_report
from edgeticket.device_runner.report.fields import (
    Accuracy,
    BundleIdentity,
    ColdStart,
    Judged,
    MeasuredArtifact,
    PerSample,
    PreprocessingTime,
    RealTime,
    Report,
    RuntimeIdentity,
    SessionIdentity,
    TaskScores,
    Transcription,
    Unlabelled,
    tell_score,
)
from edgeticket.device_runner.scenarios import Deadlines, Throughput
from edgeticket.device_runner.schema import check_version, load_schema, validate
from edgeticket.device_runner.strict_json import flat_fields, format_json, parse_json, to_json
from edgeticket.device_runner.sustained import Minute, Sustained
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import Finding, Validity
from edgeticket.device_runner.watch import During, Span
from edgeticket.device_runner.windows import Windows

__all__ = [
    "Accuracy",
    "BundleIdentity",
    "ColdStart",
    "Judged",
    "MeasuredArtifact",
    "PerSample",
    "PreprocessingTime",
    "RealTime",
    "Report",
    "RuntimeIdentity",
    "SessionIdentity",
    "TaskScores",
    "Transcription",
    "Unlabelled",
    "parse_report",
    "read_during",
    "read_readings",
    "read_report",
    "read_session",
    "read_validity",
    "tell_score",
    "write_report",
]

# 2: validity, scenarios, windows, energy, what happened during the run
# 3: transcription, real time
# 4: the clock of every cluster of cores
# 5: several inputs and outputs, fidelity, samples without labels; placement in numbers of
#    operators, and in words; 4 is still read
# 6: metrics of every task, whether answers are the references'; more figures of fidelity
# 7: what is sustained, minute by minute
# 8: the headline of samples drawn with replacement, where it is no ratio of sums over samples
SCHEMA_VERSION = 8
SIZE_LIMIT_BYTES = 256 * 2**20  # some ten million queries

T = TypeVar("T")


def read_report(path: Path) -> Report:
    """Read and check a report file.

    Raises:
        InputError: not readable, not what the schema allows, of another version, or
            numbers that contradict one another.
    """
    data = read_regular(path, kind="report", limit_bytes=SIZE_LIMIT_BYTES)
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
    check_version(document, known=SCHEMA_VERSION, oldest=OLDEST, place=place)
    document = report_of_today(document)
    validate(document, load_schema("report"), place=place)
    report = Report(
        schema_version=document["schema_version"],
        session=read_session(document["session"]),
        bundle=BundleIdentity(**document["bundle"]),
        artifact=MeasuredArtifact(**artifact_fields(document["artifact"])),
        runtime=RuntimeIdentity(**flat_fields(document["runtime"])),
        placement=_optional(Placement, document["placement"]),
        validity=read_validity(document["validity"]),
        latency=Latency(**flat_fields(document["latency"])),
        windows=Windows(**flat_fields(document["windows"])),
        throughput=Throughput(**document["throughput"]),
        deadlines=_optional(Deadlines, document["deadlines"]),
        sustained=_sustained(document["sustained"]),
        energy=_energy(document["energy"]),
        preprocessing_ns=PreprocessingTime(**flat_fields(document["preprocessing_ns"])),
        cold=ColdStart(**flat_fields(document["cold"])),
        real_time=_optional(RealTime, document["real_time"]),
        accuracy=_accuracy(document["accuracy"]),
        fidelity=_fidelity(document["fidelity"]),
        machine=Machine(**flat_fields(document["machine"])),
        before=read_readings(document["before"]),
        during=read_during(document["during"]),
        after=read_readings(document["after"]),
        versions=document["versions"],
    )
    check_report(report, place)
    return report


def read_session(document: Mapping[str, Any]) -> SessionIdentity:
    fields = flat_fields(document)
    return SessionIdentity(**{**fields, "cooldown": _optional(Cooldown, document["cooldown"])})


def read_validity(document: Mapping[str, Any]) -> Validity:
    lists = {
        name: tuple(Finding(**found) for found in document[name])
        for name in ("reasons", "warnings")
    }
    return Validity(document["verdict"], unchecked=document["unchecked"], **lists)


def _sustained(document: Mapping[str, Any]) -> Sustained | Unavailable:
    if set(document) == {"unavailable"}:
        return Unavailable(document["unavailable"])
    minutes = tuple(Minute(**flat_fields(minute)) for minute in document["minutes"])
    return Sustained(**{**flat_fields(document), "minutes": minutes})


def _accuracy(document: Mapping[str, Any]) -> Judged:
    fields = flat_fields(document)
    if "task" in document:
        fields["metrics"] = flat_fields(document["metrics"])
        fields["per_sample"] = _optional(PerSample, document["per_sample"])
        return TaskScores(**fields)
    kind: type[Accuracy | Transcription | Unlabelled] = Accuracy
    if "heard" in document:
        kind = Transcription
    elif "sample_crc32" in document:
        kind = Unlabelled
    return kind(**fields)


def _fidelity(document: Mapping[str, Any]) -> Fidelity | Unavailable:
    if set(document) == {"unavailable"}:
        return Unavailable(document["unavailable"])

    def compared(entry: Mapping[str, Any]) -> dict[str, Any]:
        outputs = tuple(OutputFidelity(**flat_fields(output)) for output in entry["outputs"])
        return {**flat_fields(entry), "outputs": outputs}

    between = tuple(Between(**compared(entry)) for entry in document["between"])
    differing = flat_fields(document["differing"])
    return Fidelity(**{**compared(document), "differing": differing, "between": between})


def read_readings(document: Mapping[str, Any]) -> Readings:
    fields = flat_fields(document)
    return Readings(**{**fields, "throttling": _optional(Throttling, document["throttling"])})


def read_during(document: Mapping[str, Any]) -> During:
    fields = flat_fields(document)
    for name in ("clock_hz", "temperature_c"):
        if not isinstance(fields[name], Unavailable):
            fields[name] = {key: Span(**span) for key, span in fields[name].items()}
    return During(**fields)


def _energy(document: Mapping[str, Any]) -> Energy | Unavailable:
    if set(document) == {"unavailable"}:
        return Unavailable(document["unavailable"])
    return Energy(
        idle=Interval(**document["idle"]),
        load=Interval(**document["load"]),
        inferences=document["inferences"],
        sources=tuple(SourceEnergy(**flat_fields(source)) for source in document["sources"]),
        missing=document["missing"],
    )


def _optional(kind: Callable[..., T], document: Mapping[str, Any]) -> T | Unavailable:
    if set(document) == {"unavailable"}:
        return Unavailable(document["unavailable"])
    return kind(**flat_fields(document))
