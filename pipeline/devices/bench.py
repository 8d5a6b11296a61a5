"""`edgeticket bench`: devices measure a bundle, and this machine is what they are held against."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edgeticket.device_runner.bundle import MANIFEST, open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.fleet_run import Outcome, measure_together
from edgeticket.pipeline.devices.measure import PACKED
from edgeticket.pipeline.devices.runner import Device
from edgeticket.pipeline.devices.verdict import judge, print_verdicts, read_host_reports
from edgeticket.pipeline.text import open_console

if TYPE_CHECKING:
    from edgeticket.pipeline.devices.own_metric import Metric
    from edgeticket.pipeline.page.sources import Sources

OURS = (
    "--output",
    "--outputs",
    "--outputs-packed",
)  # where files go on a device is not the user's to say
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
    metric: str | None = None,
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
        metric: ``package.module:function`` of the user's, run here over all outputs, see
            `pipeline.devices.own_metric`; None: none.

    Raises:
        InputError: the bundle, the arguments or the function cannot be used.
    """
    for word in arguments:
        if word.split("=")[0] in OURS or word.startswith("-o"):
            raise InputError(f"{word} is not for devices: reports go to --out")
    bundle = find_bundle(bundle)
    function = None
    if metric is not None:
        from edgeticket.pipeline.devices.own_metric import load_metric

        if any(word.partition("=")[0] == "--samples" and not _is_number(arguments, i)
               for i, word in enumerate(arguments)):  # fmt: skip
            raise InputError("--metric is for the bundle's own samples: leave --samples DIR out")
        function = load_metric(metric)
        arguments = [*arguments, "--outputs-packed", "{out}"]
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
    if function is not None and metric is not None:
        _judge_by(function, metric, bundle, outcomes, out, console)
    if not here:
        console.print("Add --on local to hold the devices' answers against this machine's.")
    return outcomes


def page_sources(bundle: Path, outcomes: Sequence[Outcome], *, out: Path) -> Sources:
    """What a page of a fleet is made of: this machine's reports first, then every device's.

    Args:
        bundle, out: as for `bench_devices`.
        outcomes: what became of the devices, of which one at least has reports.
    """
    from edgeticket.pipeline.page.sources import compose, with_bundle  # draws, which loads slowly

    bundle = find_bundle(bundle)
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


def _is_number(arguments: Sequence[str], index: int) -> bool:
    """Whether ``--samples`` at ``index`` counts samples."""
    flag, equals, value = arguments[index].partition("=")
    del flag
    return (value if equals else "".join(arguments[index + 1 : index + 2])).isdecimal()


def _judge_by(
    function: Metric,
    metric: str,
    bundle: Path,
    outcomes: Sequence[Outcome],
    out: Path,
    console: Console,
) -> None:
    """Run a function of the user's over what devices brought, and tell what it says."""
    from edgeticket.pipeline.devices.own_metric import judge_outputs, tell_values, write_values

    files = {
        (o.device.label, r.artifact.id): out / o.device.label / f"{r.artifact.id}{PACKED}"
        for o in outcomes
        for r in o.reports
    }
    brought = [(*key, file) for key, file in files.items() if file.exists()]
    if not brought:
        return
    with open_bundle(bundle) as opened:
        values = judge_outputs(function, metric, opened, brought)
    console.print(f"\n{tell_values(values)}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"in {write_values(values, out)}", highlight=False, soft_wrap=True, markup=False)


def find_bundle(path: Path) -> Path:
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
