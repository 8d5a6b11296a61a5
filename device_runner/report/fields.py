"""What a report holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_runner.cooldown import Cooldown
from device_runner.energy import Energy
from device_runner.latency import Latency
from device_runner.machine import Machine
from device_runner.manifest import Artifact
from device_runner.readings import Readings
from device_runner.scenarios import Deadlines, Throughput
from device_runner.unavailable import Unavailable
from device_runner.validity import Validity
from device_runner.watch import During
from device_runner.windows import Windows


@dataclass(frozen=True)
class SessionIdentity:
    """One run of the instrument; artifacts of one session were measured interleaved."""

    id: str
    started_utc: str  # 2026-01-31T12:00:00Z
    artifacts: tuple[str, ...]
    command: tuple[str, ...]
    cores: tuple[int, ...]  # that the measurement was kept on
    cooldown: Cooldown | Unavailable


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
    placement: Mapping[str, float] | Unavailable  # share of the operators by provider, 0..1
    validity: Validity
    latency: Latency
    windows: Windows
    throughput: Throughput
    deadlines: Deadlines | Unavailable
    energy: Energy | Unavailable
    preprocessing_ns: PreprocessingTime
    cold: ColdStart
    accuracy: Accuracy
    machine: Machine
    before: Readings
    during: During
    after: Readings
    versions: Mapping[str, str]
