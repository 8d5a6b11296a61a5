"""May this measurement be believed? VALID, or INVALID with reasons and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeticket.device_runner.machine import Machine
from edgeticket.device_runner.readings import Readings
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity.evidence import Evidence
from edgeticket.device_runner.validity.rules import RULES

__all__ = ["INVALID", "VALID", "Evidence", "Finding", "Validity", "judge", "judge_now"]

VALID, INVALID = "VALID", "INVALID"
SUSTAINED = "that is what sustained load is for; `sustained` of the report has the minute"


@dataclass(frozen=True)
class Finding:
    """One rule that was broken: what was read, and what to do."""

    rule: str
    found: str
    cure: str

    def sentence(self) -> str:
        """For a person."""
        return f"{self.found}: {self.cure}"


@dataclass(frozen=True)
class Validity:
    """INVALID if there is any reason. A rule that could not be checked is no reason."""

    verdict: str
    reasons: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    unchecked: Mapping[str, str]  # rule -> why it could not be checked


def judge(evidence: Evidence) -> Validity:
    """Hold what was read against every rule.

    A machine without sensors is VALID as long as nothing that was measured says otherwise: its
    windows, other load and waiting show what a missing thermometer would explain.
    """
    reasons: list[Finding] = []
    warnings: list[Finding] = []
    unchecked: dict[str, str] = {}
    for name, rule in RULES.items():
        found = rule.find(evidence, rule.bound)
        if isinstance(found, Unavailable):
            unchecked[name] = found.reason
        elif found is not None:
            meant = evidence.sustained and rule.shows_what_is_sustained
            finding = Finding(name, found, SUSTAINED if meant else rule.cure)
            (reasons if rule.invalidates and not meant else warnings).append(finding)
    return Validity(INVALID if reasons else VALID, tuple(reasons), tuple(warnings), unchecked)


def judge_now(machine: Machine, now: Readings) -> Validity:
    """What speaks against measuring on this machine, before anything is measured."""
    missing = Unavailable("nothing was measured")
    return judge(
        Evidence(
            machine=machine,
            before=now,
            during=missing,
            after=now,
            windows=missing,
            threads=1,
            cores=machine.cores,
            paced=False,
        )
    )
