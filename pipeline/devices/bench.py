"""`edgeticket bench`: devices measure a bundle, and this machine is what they are held against."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from edgeticket.device_runner.bundle import MANIFEST, open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.fleet_run import Outcome, measure_together
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.devices.verdict import judge, print_verdicts, read_host_reports
from edgeticket.pipeline.page.sources import Sources, compose, with_bundle
from edgeticket.pipeline.text import open_console

OURS = ("--output", "--outputs")  # where files go on a device is not the user's to say
ANSWERS = ("--min-seconds", "0", "--min-queries", "1", "--warmup-seconds", "0")


def bench_devices(
    bundle: Path,
    devices: Sequence[Device],
    arguments: Sequence[str],
    *,
    out: Path,
    offline: bool,
    patience: Patience,
    console: Console,
) -> list[Outcome]:
    """Measure on all devices, print the table, say which answer as this machine does.

    This machine's reports are those of a ``local`` device, else those that `edgeticket run` left
    beside the bundle.

    Args:
        bundle: folder or .zip, or the folder of a run.
        devices: where.
        arguments: for `device-runner bench`.
        out: reports land in ``out/<label>/``.
        offline: devices are set up without their own way to a package index.
        patience: how long to wait for what.
        console: where progress and the table go.

    Raises:
        InputError: the bundle or the arguments cannot be used.
    """
    for word in arguments:
        if word.split("=")[0] in OURS or word.startswith("-o"):
            raise InputError(f"{word} is not for devices: reports go to --out")
    bundle = _find_bundle(bundle)
    outcomes = measure_together(
        bundle, devices, arguments, out=out, offline=offline, patience=patience, console=console
    )
    local = next((o for o in outcomes if o.device.target.startswith("local") and o.reports), None)
    if local is not None:
        here = [*local.reports, *answer_here(bundle, local, outcomes, arguments, patience)]
    else:
        with open_bundle(bundle) as opened:
            here = read_host_reports(bundle, opened.digest)
    verdicts = judge(outcomes, here)
    if verdicts:
        print_verdicts(verdicts, console)
    for outcome in outcomes:
        for note in outcome.notes:
            line = f"note: {outcome.device.label}: {note}"
            console.print(line, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not here:
        console.print("Add --on local to hold the devices' answers against this machine's.")
    return outcomes


def page_sources(bundle: Path, outcomes: Sequence[Outcome], *, out: Path) -> Sources:
    """What a page of a fleet is made of: this machine's reports first, then every device's.

    Args:
        bundle, out: as for `bench_devices`.
        outcomes: what became of the devices, of which one at least has reports.
    """
    bundle = _find_bundle(bundle)
    with open_bundle(bundle) as opened:
        here = read_host_reports(bundle, opened.digest)
    found = [(bundle.parent / "reports" / f"{r.artifact.id}.json", r) for r in here]
    for outcome in outcomes:
        label = outcome.device.label
        found += [(out / label / f"{r.artifact.id}.json", r) for r in outcome.reports]
    failures = tuple(
        f"{outcome.device.label}: {outcome.failure}"
        for outcome in outcomes
        if outcome.failure is not None
    )
    return with_bundle(replace(compose(found), failures=failures), bundle)


def _find_bundle(path: Path) -> Path:
    """A run's folder stands for the bundle in it."""
    inner = path / "bundle"
    return inner if not (path / MANIFEST).exists() and (inner / MANIFEST).exists() else path


def answer_here(
    bundle: Path,
    local: Outcome,
    outcomes: Sequence[Outcome],
    arguments: Sequence[str],
    patience: Patience,
) -> list[Report]:
    """This machine's answers with files that are meant for others, such as S8 on x86.

    Their times are worth nothing, and nothing is written.
    """
    known = {report.artifact.id for report in local.reports}
    asked = {report.artifact.id for outcome in outcomes for report in outcome.reports}
    found: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="edgeticket-") as folder:
        for name in sorted(asked - known):
            done = measure_together(
                bundle,
                [replace(local.device, label="answers")],
                [*_without_artifacts(arguments), "--artifact", name, *ANSWERS],
                out=Path(folder),
                offline=False,
                patience=patience,
                console=open_console(quiet=True),
            )
            found += done[0].reports
    return found


def _without_artifacts(arguments: Sequence[str]) -> list[str]:
    """The runner's arguments but for the artifacts that were asked for."""
    kept: list[str] = []
    for i, word in enumerate(arguments):
        is_flag = word == "--artifact" or word.startswith("--artifact=")
        if not is_flag and (i == 0 or arguments[i - 1] != "--artifact"):
            kept.append(word)
    return kept
