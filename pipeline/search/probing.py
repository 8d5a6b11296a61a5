"""Have files timed on a target: what is not known yet, in short sessions, each kept at once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.probes.report import ProbeReport, parse_probes
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import INVALID
from edgeticket.pipeline.devices.connection import Patience, Tell
from edgeticket.pipeline.devices.environment import look
from edgeticket.pipeline.devices.link import Link, open_link
from edgeticket.pipeline.devices.runner import Device, Parcel, collect, prepare, start
from edgeticket.pipeline.devices.transfer import bundle_contents
from edgeticket.pipeline.errors import DeviceError
from edgeticket.pipeline.search.kept import Board, KeptTimes, Time, version_of
from edgeticket.pipeline.search.probes import ProbeFile, bundles_of, write_probe_bundle
from edgeticket.pipeline.search.reference import reference_files

MOST_FILES = 320  # of one session: half a minute at most, which is what a crash may cost
MOST_BYTES = 48_000_000  # likewise; a small board has them all in memory
TRIES = 3  # of a session that is INVALID

Plan = Callable[[str], Sequence[ProbeFile]]
"""The architecture of a machine, as uname -m says -> the files that are to be timed there."""


@dataclass(frozen=True)
class Times:
    """What a target takes for files, by the hash of each.

    refused: files that a runtime there does not load -> why.
    doubts: rule -> why sessions were INVALID, the first finding of each; then times are those of
        the fastest queries, and nothing was kept.
    measured, known: how many files were timed now, and before.
    """

    board: Board
    architecture: str
    runtimes: Mapping[str, str]  # name -> package and version
    times: Mapping[str, Time]
    refused: Mapping[str, str]
    doubts: Mapping[str, str]
    measured: int
    known: int

    def ns(self, file: ProbeFile) -> int | None:
        """Of one query: the median, or the fastest where the machine was not quiet."""
        time = self.times.get(file.sha256)
        if time is None:
            return None
        return time.min_ns if self.doubts else time.p50_ns


@dataclass(frozen=True)
class Asked:
    """How probes are to be measured.

    store: folder of the times that are kept.
    allow_invalid: go on with what INVALID sessions measured.
    doubtful: folder of the times of such sessions, so that the search that asked for them can be
        stopped; None: they are not kept.
    """

    store: Path
    threads: int = 1
    amx: bool = True
    allow_invalid: bool = False
    patience: Patience = Patience()  # noqa: RUF009 (it is frozen)
    offline: bool = False
    doubtful: Path | None = None

    @property
    def options(self) -> list[str]:
        """For `device-runner probe`."""
        return ["--threads", str(self.threads), *([] if self.amx else ["--no-amx"])]


def time_files(
    device: Device,
    plan: Plan,
    asked: Asked,
    *,
    runtimes: Iterable[str],
    tell: Tell = lambda line: None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Times:
    """Time what ``plan`` names on a device.

    Args:
        device: where.
        plan: called once the device's architecture is known.
        asked: how.
        runtimes: that are measured, keys of `device_runner.runtimes.RUNTIMES`.
        tell: hears what is going on.
        advance: told how many files are done, of how many.

    Raises:
        DeviceError: the device cannot be reached or measures nothing that can be believed.
    """
    return asyncio.run(_time_files(device, plan, asked, tuple(runtimes), tell, advance))


async def _time_files(
    device: Device,
    plan: Plan,
    asked: Asked,
    runtimes: tuple[str, ...],
    tell: Tell,
    advance: Callable[[int, int], None],
) -> Times:
    patience = asked.patience
    async with open_link(device.target, patience=patience, tell=tell) as link:
        session = _Session(link, device, asked, tell)
        tell("connecting")
        facts = await link.do(lambda c: look(c, patience=patience, tell=tell), heal=True)
        architecture = facts.architecture
        first = await session.measure(reference_files(runtimes, architecture=architecture))
        pace = {
            p.sha256: p.time.p50_ns for p in first.probes if not isinstance(p.time, Unavailable)
        }
        board = Board.of(first)
        kept = KeptTimes(asked.store, board, pace)
        if kept.passed_over:
            tell("the board is not as fast as it was: its times are measured anew")
        identities = {p.runtime.name: (p.runtime.package, version_of(p)) for p in first.probes}
        files = [file for file in plan(architecture) if file.artifact.runtime in identities]
        by_hash = {file.sha256: file for file in files}
        times: dict[str, Time] = {}
        for digest, file in by_hash.items():
            known = kept.find(digest, *identities[file.artifact.runtime])
            if known is not None:
                times[digest] = known
        doubts = _doubts(first)
        doubtful = None if asked.doubtful is None else KeptTimes(asked.doubtful, board, None)
        for digest, file in by_hash.items():
            if doubtful is not None and digest not in times:
                known = doubtful.find(digest, *identities[file.artifact.runtime])
                if known is not None:
                    times[digest] = known
                    doubts = doubtful.doubts | doubts
        known_count = len(times)
        refused: dict[str, str] = {}
        missing = [file for digest, file in by_hash.items() if digest not in times]
        advance(known_count, len(by_hash))
        for part in bundles_of(missing, most=MOST_FILES, most_bytes=MOST_BYTES):
            report = await session.measure(part)
            if report.validity.verdict == INVALID:
                doubts = _doubts(report) | doubts
                if doubtful is not None:
                    doubtful.add(report)
            else:
                kept.add(report)
            for probe in report.probes:
                if isinstance(probe.time, Unavailable):
                    refused[probe.sha256] = probe.time.reason
                else:
                    times[probe.sha256] = Time(probe.time.p50_ns, probe.time.min_ns)
            advance(len(times) + len(refused), len(by_hash))
    return Times(
        board=board,
        architecture=architecture,
        runtimes={name: f"{package} {version}" for name, (package, version) in identities.items()},
        times=times,
        refused=refused,
        doubts=doubts,
        measured=len(missing),
        known=known_count,
    )


def _doubts(report: ProbeReport) -> dict[str, str]:
    """Rule -> what is wrong; nothing of a VALID session."""
    return {finding.rule: finding.sentence() for finding in report.validity.reasons}


@dataclass(frozen=True)
class _Session:
    """Sessions of probes on one device."""

    link: Link
    device: Device
    asked: Asked
    tell: Tell

    async def measure(self, files: Sequence[ProbeFile]) -> ProbeReport:
        """One session that is VALID; or the last of several, where others are allowed."""
        with tempfile.TemporaryDirectory(prefix="edgeticket-") as scratch:
            folder = Path(scratch)
            write_probe_bundle(folder, files)
            with open_bundle(folder) as bundle:
                parcel = Parcel(bundle, bundle_contents(bundle))
                for left in reversed(range(1 if self.asked.allow_invalid else TRIES)):
                    report = await self._once(parcel)
                    if report.validity.verdict != INVALID:
                        break
                    reasons = "; ".join(_doubts(report).values())
                    if left:
                        self.tell(f"not VALID, measured again: {reasons}")
                    elif not self.asked.allow_invalid:
                        raise DeviceError(
                            f"{self.device.target}: {TRIES} sessions were INVALID ({reasons}); "
                            "--allow-invalid goes on with the fastest queries, and keeps nothing"
                        )
        return report

    async def _once(self, parcel: Parcel) -> ProbeReport:
        patience, tell = self.asked.patience, self.tell
        prepared = await self.link.do(
            lambda c: prepare(
                c, self.device, parcel, offline=self.asked.offline, patience=patience, tell=tell
            ),
            heal=True,
        )
        arguments = ["probe", "{bundle}", "-o", "{out}/probes.json", *self.asked.options]
        run = await self.link.do(
            lambda c: start(c, prepared, arguments, patience=patience, tell=tell), heal=False
        )
        if run.exit_code != 0 or not run.files:
            raise DeviceError(str(run.failure(self.device.target, doing="timing probes")))
        found = await self.link.do(
            lambda c: collect(c, run, patience=patience, tell=tell), heal=True
        )
        (data,) = found.values()
        report = parse_probes(data, place=f"{self.device.target}: probes.json")
        if report.bundle.digest != parcel.bundle.digest:
            raise InputError(f"{self.device.target}: probes.json is about another bundle")
        return report
