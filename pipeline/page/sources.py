"""What a page is made of: reports, and what lies beside them in the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.regular import read_regular
from edgeticket.device_runner.report import Report, parse_report
from edgeticket.device_runner.stores import MANIFEST
from edgeticket.pipeline.compare import Case
from edgeticket.pipeline.compare.report_files import json_files
from edgeticket.pipeline.page.places import name_places

REPORT_LIMIT_BYTES = 256 * 2**20
BASELINE = "dense"


@dataclass(frozen=True, eq=False)
class Measured:
    """A report, and how the page speaks of it; all names are plain text."""

    report: Report
    number: int  # by which charts point to its row in the table, from 1
    name: str  # of the artifact; with the number of threads where others differ in that alone
    place: str  # the machine

    @property
    def title(self) -> str:
        """Artifact and machine."""
        return f"{self.name} on {self.place}"

    @property
    def is_int8(self) -> bool:
        return self.report.artifact.precision == "int8"

    @property
    def is_emulated(self) -> bool:
        """Whether its times say nothing."""
        return isinstance(self.report.machine.emulated, str)


@dataclass(frozen=True)
class Sources:
    """All that a page can show. ``bundle`` is where samples are read from; ``diff`` is the JSON of
    `edgeticket diff`; ``steps`` are the log of a run's passes, the dense network first."""

    name: str
    measured: tuple[Measured, ...]
    bundle: Path | None = None
    manifest: Manifest | None = None
    diff: Mapping[str, Any] | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    passed_over: tuple[str, ...] = ()  # files that are no reports, and why
    remarks: tuple[str, ...] = ()
    comparisons: tuple[Case, ...] = ()
    failures: tuple[str, ...] = ()  # devices that measured nothing, and why

    @property
    def places(self) -> tuple[str, ...]:
        """The machines, in order."""
        return tuple(dict.fromkeys(one.place for one in self.measured))

    def on(self, place: str) -> tuple[Measured, ...]:
        """What was measured there."""
        return tuple(one for one in self.measured if one.place == place)

    def baseline_of(self, one: Measured) -> Measured | None:
        """The dense float32 artifact that was measured beside it on the same runtime, if any."""
        report = one.report
        fitting = [
            other
            for other in self.on(one.place)
            if other.report.artifact.precision == "fp32"
            and other.report.artifact.runtime == report.artifact.runtime
            and other.report.runtime.threads == report.runtime.threads
            and other.report.latency.scenario == report.latency.scenario
            and other.report.accuracy.samples_sha256 == report.accuracy.samples_sha256
        ]
        dense = [other for other in fitting if other.report.artifact.network == BASELINE]
        same = [o for o in fitting if o.report.artifact.network == report.artifact.network]
        chosen = dense or same
        return chosen[0] if chosen else None

    @property
    def featured(self) -> Measured:
        """The one that the page speaks of first: of those meant to be deployed the fastest, rather
        one that can be held against something."""
        for keep in (_is_deployed, lambda one: one.is_int8, lambda one: True):
            fitting = [one for one in self.measured if keep(one)]
            if fitting:
                return min(
                    fitting,
                    key=lambda one: (one.is_emulated, not self.baseline_of(one), _median(one)),
                )
        raise AssertionError("a page has a report")


def gather(paths: Sequence[Path]) -> Sources:
    """Runs, reports, bundles and diffs -> what a page is made of.

    Args:
        paths: folders of runs, folders of reports, reports, bundles (folder or .zip) that the
            reports are of, and JSON of `edgeticket diff`.

    Raises:
        InputError: a file that was named cannot be read, or there is no report at all.
    """
    reports: list[tuple[Path, Report]] = []
    diff: Mapping[str, Any] | None = None
    passed_over: list[str] = []
    for path in paths:
        for file in _files(path):
            data = read_regular(file, kind="report", limit_bytes=REPORT_LIMIT_BYTES)
            found_diff = _diff_of(data)
            if found_diff is not None:
                diff = found_diff
                continue
            try:
                reports.append((file, parse_report(data, place=str(file))))
            except InputError as error:
                if file == path:
                    raise
                passed_over.append(plain(str(error)))
    if not reports:
        why = f" ({passed_over[0]})" if passed_over else ""
        raise InputError(
            f"there is no report in {', '.join(map(str, paths))}{why}: "
            "give the folder of a run, or what `device-runner bench` wrote"
        )
    bundle = next((found for path in paths if (found := _bundle_of(path)) is not None), None)
    sources = with_bundle(compose(reports, diff=diff, passed_over=tuple(passed_over)), bundle)
    return replace(sources, steps=_timed(sources.steps, bundle))


def compose(
    reports: Sequence[tuple[Path, Report]],
    *,
    diff: Mapping[str, Any] | None = None,
    passed_over: tuple[str, ...] = (),
) -> Sources:
    """Reports, each with the file that it is in -> sources without a bundle."""
    seen: set[tuple[str, str, int, str]] = set()
    unique: list[tuple[Path, Report]] = []
    for file, report in reports:
        key = (
            *(report.session.id, report.artifact.id),
            *(report.runtime.threads, report.latency.scenario),
        )
        if key not in seen:
            seen.add(key)
            unique.append((file, report))
    places = name_places(unique)
    threads = {report.runtime.threads for _, report in unique}
    order = list(dict.fromkeys(places))
    ranked = sorted(zip(unique, places, strict=True), key=lambda entry: order.index(entry[1]))
    measured = []
    for number, ((_, report), place) in enumerate(ranked, start=1):
        several = f", {report.runtime.threads} threads" if len(threads) > 1 else ""
        measured.append(Measured(report, number, plain(report.artifact.id) + several, place))
    name = plain(unique[0][1].bundle.name) if unique else ""
    return Sources(name, tuple(measured), diff=diff, passed_over=passed_over)


def with_bundle(sources: Sources, bundle: Path | None) -> Sources:
    """The same, with the bundle whose samples and facts are shown: only where the reports are of
    it. Reports come in the order of its artifacts then."""
    if bundle is None:
        return sources
    with open_bundle(bundle) as opened:
        digest, manifest = opened.digest, opened.manifest
    if all(one.report.bundle.digest != digest for one in sources.measured):
        remark = "The bundle beside the reports is another one than they were measured with."
        return replace(sources, remarks=(*sources.remarks, remark))
    order = {artifact.id: i for i, artifact in enumerate(manifest.artifacts)}
    ranked = sorted(
        sources.measured,
        key=lambda one: (
            sources.places.index(one.place),
            order.get(one.report.artifact.id, len(order)),
        ),
    )
    steps = manifest.provenance.get("steps")
    return replace(
        sources,
        name=plain(manifest.name),
        measured=tuple(
            Measured(one.report, number, one.name, one.place)
            for number, one in enumerate(ranked, start=1)
        ),
        bundle=bundle,
        manifest=manifest,
        steps=_mappings(steps),
    )


def _timed(
    steps: tuple[Mapping[str, Any], ...], bundle: Path | None
) -> tuple[Mapping[str, Any], ...]:
    """A run's steps with the times that its summary has: they are no part of the bundle."""
    if bundle is None or not steps:
        return steps
    try:
        summary = json.loads((bundle.parent / "summary.json").read_bytes())
        timed = _mappings(summary["steps"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return steps
    names = [step.get("step") for step in steps]
    if [step.get("step") for step in timed] != names:
        return steps
    return tuple(
        {**step, "seconds": other.get("seconds")} for step, other in zip(steps, timed, strict=True)
    )


def _mappings(steps: Any) -> tuple[Mapping[str, Any], ...]:
    """Provenance is free JSON: what is no list of objects is nothing."""
    if not isinstance(steps, list):
        return ()
    return tuple(step for step in steps if isinstance(step, dict))


def _bundle_of(path: Path) -> Path | None:
    """The bundle that a path brings: of a run the one in it."""
    inner = path / "bundle"
    if (inner / MANIFEST).is_file():
        return inner
    return path if path.suffix == ".zip" or (path / MANIFEST).is_file() else None


def _files(path: Path) -> list[Path]:
    """The JSON files that a path stands for. Of a run: its reports, and a diff if there is one."""
    bundle = _bundle_of(path)
    if bundle == path:
        return []
    if not path.is_dir():
        return [path]
    if bundle is not None:
        diffs = [path / "diff.json"] if (path / "diff.json").is_file() else []
        return [*sorted((path / "reports").rglob("*.json")), *diffs]
    return json_files(path)


def _diff_of(data: bytes) -> Mapping[str, Any] | None:
    """The JSON of `edgeticket diff`; None: it is something else."""
    if b'"first_over"' not in data or b'"session"' in data:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    keys = {"artifacts", "pairs", "first_over", "samples"}
    return document if isinstance(document, dict) and keys <= set(document) else None


def _is_deployed(one: Measured) -> bool:
    return one.report.artifact.role == "deploy" and one.is_int8


def _median(one: Measured) -> float:
    p50 = one.report.latency.p50_ns
    return p50 if isinstance(p50, int) else one.report.latency.mean_ns
