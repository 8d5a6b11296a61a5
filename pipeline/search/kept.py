"""Times of probes that were measured before: one file a board, a line a probe.

A time holds for one file, one board as it is set (governor, power mode, cores), one version of a
runtime, and a number of threads. Lines are only ever added, each session's at once, so a program
that is killed loses the session under way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.atomic import make_folder
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.probes.report import Probe, ProbeReport
from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.store import canonical_json

FORMAT = 1
SAME_PACE = 0.1  # a board whose reference probes moved by more is another one


@dataclass(frozen=True)
class Time:
    """Of one file: the median, and the fastest query, in nanoseconds."""

    p50_ns: int
    min_ns: int


@dataclass(frozen=True)
class Board:
    """A machine as it is set up now, so that times of one day hold on another."""

    facts: Mapping[str, Any]

    @classmethod
    def of(cls, report: ProbeReport) -> Board:
        """That a session ran on."""
        machine, before = report.machine, report.before
        threads = {probe.runtime.threads for probe in report.probes}
        return cls(
            to_json(
                {
                    "board": machine.board,
                    "cpu": machine.cpu,
                    "architecture": machine.architecture,
                    "int8_instructions": machine.int8_instructions,
                    "cores": len(report.session.cores),
                    "max_frequency_hz": machine.max_frequency_hz,
                    "jetson": machine.jetson,
                    "governor": before.governor,
                    "frequency_cap_hz": before.frequency_cap_hz,
                    "power_mode": before.power_mode,
                    "threads": sorted(threads),
                    "withheld": sorted(
                        {w for probe in report.probes for w in probe.runtime.withheld}
                    ),
                }
            )
        )

    @property
    def name(self) -> str:
        """For people: what it is, as it says."""
        for key in ("jetson", "board", "cpu"):
            if isinstance(self.facts[key], str):
                return plain(self.facts[key])
        return str(self.facts["architecture"])

    @property
    def digest(self) -> str:
        """Of all of it."""
        return hashlib.sha256(canonical_json(self.facts)).hexdigest()


class KeptTimes:
    """The file of one board.

    pace: the reference probes of today, by the file's hash; None: of times that are doubtful
        anyway, and hold at any pace.
    doubts: rule -> why such sessions were INVALID.
    """

    def __init__(self, folder: Path, board: Board, pace: Mapping[str, int] | None) -> None:
        name = re.sub(r"[^A-Za-z0-9]+", "-", board.name).strip("-")[:40]
        self.path = folder / f"{name}-{board.digest[:16]}.jsonl"
        self._board, self._pace = board, pace
        self._times: dict[tuple[str, str, str], Time] = {}
        self.passed_over = 0  # of sessions at another pace
        self.doubts: dict[str, str] = {}
        for line in self._lines():
            self._read(line)

    def find(self, sha256: str, package: str, version: str) -> Time | None:
        """The time of a file that was measured before."""
        return self._times.get((sha256, package, version))

    def add(self, report: ProbeReport) -> None:
        """Keep what a session measured."""
        probes = {
            probe.sha256: [
                probe.runtime.package,
                version_of(probe),
                probe.time.p50_ns,
                probe.time.min_ns,
                probe.time.queries,
            ]
            for probe in report.probes
            if not isinstance(probe.time, Unavailable)
        }
        entry = {
            "format": FORMAT,
            "board": self._board.facts,
            "session": report.session.id,
            "started_utc": report.session.started_utc,
            "pace": dict(self._pace or {}),
            "doubts": {finding.rule: finding.sentence() for finding in report.validity.reasons},
            "probes": probes,
        }
        make_folder(self.path.parent)
        whole = not self.path.exists() or self.path.read_bytes().endswith(b"\n")
        with self.path.open("ab") as file:
            # A line that a crash cut short stays alone.
            file.write(b"" if whole else b"\n")
            file.write(canonical_json(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(entry)

    def _lines(self) -> Sequence[str]:
        with contextlib.suppress(OSError):
            return self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        return ()

    def _read(self, line: str) -> None:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            entry = json.loads(line)
            if entry["format"] != FORMAT or entry["board"] != self._board.facts:
                return
            if self._is_pace_of_today(entry["pace"]):
                self._take(entry)
            else:
                self.passed_over += 1

    def _is_pace_of_today(self, pace: Mapping[str, int]) -> bool:
        if self._pace is None:
            return True
        ratios = sorted(now / pace[key] for key, now in self._pace.items() if pace.get(key))
        return bool(ratios) and abs(ratios[len(ratios) // 2] - 1) <= SAME_PACE

    def _take(self, entry: Mapping[str, Any]) -> None:
        self.doubts = dict(entry.get("doubts", {})) | self.doubts
        for sha256, (package, version, p50, least, _) in entry["probes"].items():
            self._times[sha256, str(package), str(version)] = Time(int(p50), int(least))


def version_of(probe: Probe) -> str:
    """Of the runtime that ran it."""
    version = probe.runtime.version
    return "unknown" if isinstance(version, Unavailable) else version
