"""What came of a proof, and the document that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.device_runner.unavailable import Unavailable

SCHEMA_VERSION = 1

PROVEN, REFUSED, UNASKED = "proven", "refused", "not asked"

FILES, SIGNATURE = "files", "signature"
OUTPUTS, PLACEMENT, LATENCY = "outputs", "placement", "latency"
# What is looked at, in this order, with the exit status of a bundle that fails there first.
STATUS: Mapping[str, int] = {FILES: 3, SIGNATURE: 4, OUTPUTS: 5, PLACEMENT: 6, LATENCY: 7}


@dataclass(frozen=True)
class Step:
    """One thing that was looked at; ``sentence`` says why it failed, or what was seen."""

    name: str  # a key of `STATUS`
    verdict: str  # PROVEN, REFUSED, UNASKED
    sentence: str


@dataclass(frozen=True)
class ProvenArtifact:
    """One artifact: golden answers that it gave, and where and how fast it ran."""

    id: str
    exact: bool  # whether equality was asked, or nearness
    queries: int
    equal: int  # queries of which all outputs are the golden ones, bit for bit
    worst: tuple[float, ...] | Unavailable  # by output, in steps where it is codes
    tolerances: tuple[float, ...]
    golden_by: str
    ran_on: str
    placement: tuple[str, ...] | Unavailable
    p90_ns: int | Unavailable


@dataclass(frozen=True)
class ProofReport:
    """The whole document."""

    schema_version: int
    verdict: str  # PROVEN, REFUSED
    bundle: str | Unavailable  # its name
    digest: str | Unavailable  # SHA-256 of its manifest
    steps: tuple[Step, ...]
    artifacts: tuple[ProvenArtifact, ...]
    skipped: Mapping[str, str]  # artifacts that were left out, and why
    board: str | Unavailable
    cpu: str | Unavailable
    architecture: str
    at_utc: str
    duration_s: float
    versions: Mapping[str, str]

    @property
    def status(self) -> int:
        """The exit status: that of the first step that failed."""
        failed = [step for step in self.steps if step.verdict == REFUSED]
        return STATUS[failed[0].name] if failed else 0

    @property
    def line(self) -> str:
        """The one line to read."""
        name = self.bundle if isinstance(self.bundle, str) else "bundle"
        failed = [step for step in self.steps if step.verdict == REFUSED]
        if failed:
            return f"{name} REFUSED ({failed[0].name}): {failed[0].sentence}"
        seen = "; ".join(step.sentence for step in self.steps if step.verdict == PROVEN)
        return f"{name} PROVEN: {seen}"


def write_proof(report: ProofReport, path: Path) -> None:
    """Write it as JSON, whole or not at all.

    Raises:
        InputError: the folder cannot be written to.
    """
    write_atomic(path, format_json(to_json(report)))
