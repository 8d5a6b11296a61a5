"""Measuring on devices, and what reports and layers say against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.errors import DeviceError

if TYPE_CHECKING:
    from rich.console import Console

    from edgeticket.pipeline.compare import Gate
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet_run import Outcome
    from edgeticket.pipeline.diff import Diff
    from edgeticket.pipeline.diff.layer_times import TimedLayers
    from edgeticket.pipeline.history.story import History
    from edgeticket.pipeline.progress import Progress


def bench(
    bundle: StrPath,
    *,
    on: Sequence[str] = (),
    devices: Sequence[StrPath] = (),
    options: Sequence[str] = (),
    out: StrPath = "device-reports",
    python: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
    console: Console | None = None,
    metric: str | None = None,
    sustain: str | None = None,
) -> list[Outcome]:
    """Measure a bundle on devices, all at once; reports land in ``out/LABEL/ARTIFACT.json``.

    Args:
        bundle: a bundle, folder or .zip, or the folder of a run.
        on: targets: ``ssh://user@host[:port][/folder]``, ``emulated:cortex-a72``, ``local``.
        devices: files of devices, with labels.
        options: for `device-runner bench`.
        out: where reports go.
        python: one on the devices that has numpy and a runtime; None: an environment of our own.
        offline: this machine fetches the packages and brings them.
        patience: how long to wait for what; None: as the command does.
        console: where progress and the tables go; None: nowhere.
        metric: ``package.module:function`` of your own, called here with the outputs (a list of
            arrays [N, ...]) and the targets (named arrays) of each artifact on each device; what
            it returns lands in ``out/own-metric.csv``.
        sustain: load without a pause for so long, like ``30m``: latency minute by minute, and what
            is left of it when the device is hot. A device may take so much longer.

    Returns:
        What became of each device: its reports, or why there are none.

    Raises:
        DeviceError: no device measured anything.
        InputError: the bundle, a target or an option cannot be used.
    """
    from rich.console import Console

    from edgeticket.device_runner.sustained import read_minutes
    from edgeticket.pipeline.devices.bench import bench_devices
    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet import gather

    patience = patience or Patience()
    if sustain is not None:
        options = ["--sustain", sustain, *options]
        patience = replace(patience, bench_s=patience.bench_s + 60.0 * read_minutes(sustain))
    outcomes = bench_devices(
        Path(bundle),
        gather(on, list(map(Path, devices)), python=python),
        options,
        out=Path(out),
        offline=offline,
        patience=patience,
        console=console or Console(quiet=True),
        metric=metric,
    )
    if all(outcome.failure is not None for outcome in outcomes):
        raise DeviceError("; ".join(str(outcome.failure) for outcome in outcomes))
    return outcomes


def layers(
    bundle: StrPath,
    *,
    on: str = "local",
    artifacts: Sequence[str] = (),
    diff: StrPath | None = None,
    out: StrPath | None = None,
    options: Sequence[str] = (),
    offline: bool = False,
    patience: Patience | None = None,
    console: Console | None = None,
) -> list[TimedLayers]:
    """Time every layer of artifacts on a device, and say who ran it.

    Args:
        bundle: a bundle, folder or .zip, or the folder of a run.
        on: a target, as for `bench`.
        artifacts: their ids; none: all int8 ones.
        diff: JSON of `edgeticket diff`, whose errors are put beside the times.
        out: a folder for the reports; None: nowhere.
        options: for `device-runner layers`.
        offline: this machine fetches the packages and brings them.
        patience: how long to wait for what; None: as the command does.
        console: where progress goes; None: nowhere.

    Returns:
        Of each artifact the report, with each layer's time, and the errors by layer.

    Raises:
        InputError: the bundle, an artifact or the diff cannot be used; the device cannot be
            reached, or has no runtime for any of them.
    """
    from rich.console import Console

    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.fleet import make_device
    from edgeticket.pipeline.devices.layers import time_layers_on
    from edgeticket.pipeline.diff.layer_times import joined, read_errors

    errors = None if diff is None else read_errors(Path(diff))
    reports = time_layers_on(
        Path(bundle),
        make_device(on),
        artifacts,
        options=options,
        out=optional_path(out),
        offline=offline,
        patience=patience or Patience(),
        console=console or Console(quiet=True),
    )
    return [joined(report, errors) for report in reports]


def compare(
    before: StrPath,
    after: StrPath | Sequence[StrPath],
    *,
    max_drop_points: float | None = None,
    max_drop_relative: float | None = None,
    max_p90_ms: float | None = None,
    min_speedup: float | None = None,
    min_agreement: float | None = None,
    min_sqnr_db: float | None = None,
    identical: bool = False,
    require_valid: bool = False,
    against: Literal["report", "history"] = "report",
    metric: str | None = None,
    bundle: StrPath | None = None,
) -> Gate:
    """Compare reports: what an artifact lost or won, or what a device does to it.

    Args:
        before: the report to compare with, or a folder of them.
        after: reports to judge, or folders of them.
        max_drop_points: top-1 may be lower, or the word error rate higher, by so many points; of
            other tasks the headline metric, in points of shares, else in its unit.
        max_drop_relative: the same as a share of the score before, 0 to 1.
        max_p90_ms: the p90 latency may be so long, in milliseconds.
        min_speedup: p50 is to be so many times lower than before.
        min_agreement: the share of samples, 0 to 1, that are to keep their answer.
        min_sqnr_db: the ratio of signal to noise that every output is to have, against its float32
            reference, in dB.
        identical: outputs are to be equal bit for bit.
        require_valid: reports are to be VALID.
        against: ``history``: ``before`` is a folder of runs of many days. Each report is compared
            with the newest run of the same artifact on the same machine, and its p90 is not to be
            longer than what those runs differ by explains.
        metric: ``package.module:function`` of your own, as in `bench`, called here with the outputs
            that lie beside each report (``ARTIFACT.npz``) and the targets of ``bundle``.
        bundle: that was measured, folder or .zip, or the folder of a run; with ``metric``.

    Returns:
        A case for each report of ``after``: its comparison, or why there is none, and the limits
        that it breaks.

    Raises:
        InputError: ``before`` cannot be read, or there is nothing to judge; there is no such
            function, or no bundle beside it.
    """
    from edgeticket.pipeline.compare import Limits, run_gate

    limits = Limits(
        max_drop_points=max_drop_points,
        max_drop_relative=max_drop_relative,
        max_p90_ms=max_p90_ms,
        min_speedup=min_speedup,
        min_agreement=min_agreement,
        min_sqnr_db=min_sqnr_db,
        identical=identical,
        valid=require_valid,
    )
    paths = [after] if isinstance(after, str | Path) else after
    if (metric is None) != (bundle is None):
        raise InputError("--metric needs --bundle, which holds its targets: give both, or neither")
    if metric is not None and bundle is not None:
        from edgeticket.device_runner.bundle import open_bundle
        from edgeticket.pipeline.compare.own_metric import OwnMetric
        from edgeticket.pipeline.devices.bench import find_bundle
        from edgeticket.pipeline.devices.own_metric import load_metric

        if against == "history":
            raise InputError("--metric compares reports with one another: leave --against out")
        function = load_metric(metric)
        with open_bundle(find_bundle(Path(bundle))) as opened:
            judged_by = OwnMetric(function, metric, opened)
            return run_gate(Path(before), list(map(Path, paths)), limits=limits, metric=judged_by)
    if against == "history":
        from edgeticket.pipeline.history.gate import run_history_gate

        return run_history_gate([Path(before)], list(map(Path, paths)), limits=limits)
    return run_gate(Path(before), list(map(Path, paths)), limits=limits)


def history(reports: StrPath | Sequence[StrPath]) -> History:
    """Tell what became of each artifact on each board, run after run.

    Args:
        reports: folders of reports of many days, or single reports.

    Returns:
        For each artifact and machine its runs, what p90 is now and how much runs differ by
        themselves, and where times or answers changed by more than chance explains.

    Raises:
        InputError: a file that was named cannot be read, or there is no report.
    """
    from edgeticket.pipeline.history.story import read_history

    paths = [reports] if isinstance(reports, str | Path) else reports
    return read_history(list(map(Path, paths)))


def report(
    reports: StrPath | Sequence[StrPath],
    *,
    out: StrPath = "report.html",
) -> Path:
    """Make a page to look at: one HTML file that loads nothing.

    Args:
        reports: the folder of a search, or of an experiment's lines, or such files (*.jsonl): each
            gives a page of its own kind. Else the folder of a run, reports, folders of reports; a
            bundle that they are of, for names of classes and pictures of samples; JSON of
            `edgeticket diff`, for its layers.
        out: the file; an older page gives way.

    Returns:
        The file.

    Raises:
        InputError: a report cannot be read, there is none, or another file is at ``out``.
    """
    from edgeticket.pipeline.page.file import check_place
    from edgeticket.pipeline.page.render import write_page
    from edgeticket.pipeline.page.sources import gather

    paths = [Path(path) for path in ([reports] if isinstance(reports, str | Path) else reports)]
    check_place(Path(out))
    if len(paths) == 1 and (paths[0] / "front.json").is_file():
        from edgeticket.pipeline.search.page import write_front_page

        write_front_page(paths[0], Path(out))
    elif paths and all(_are_lines(path) for path in paths):
        from edgeticket.pipeline.experiment.page import write_experiment_page

        write_experiment_page(paths, Path(out))
    else:
        write_page(gather(paths), Path(out))
    return Path(out)


def _are_lines(path: Path) -> bool:
    """Whether a file or folder holds lines of experiments."""
    if path.is_dir():
        return any(path.glob("*.jsonl")) and not any(path.glob("*.json"))
    return path.suffix == ".jsonl"


def diff(
    bundle: StrPath,
    *,
    artifacts: Sequence[str] = (),
    samples: int = 16,
    taps: Sequence[StrPath] = (),
    on: str | None = None,
    reference: StrPath | None = None,
    alone: bool = False,
    code: StrPath | None = None,
    max_lsb: float = 1.0,
    min_equal: float = 0.95,
    progress: Progress | None = None,
) -> Diff:
    """Find the layer at which a runtime parts from the reference, and by how much.

    Args:
        bundle: a bundle, folder or .zip, or the folder of a run.
        artifacts: their ids; none: all int8 ones.
        samples: how many of the bundle's.
        taps: files of `device-runner tap`, judged against this machine.
        on: a target that taps them now; instead of ``taps``.
        reference: the run's folder ``reference``; None: the one beside the bundle.
        alone: without torch, the bundle's own ONNX file is the judge.
        code: where the function of `model.import` is; it is run.
        max_lsb: a layer's own difference, at most.
        min_equal: the share of its codes, 0 to 1, that are equal at least.
        progress: where to show how far it is; None: nowhere.

    Returns:
        Every layer of every artifact, compared twice; ``is_within`` says whether all keep to the
        bounds.

    Raises:
        DeviceError: the device cannot be reached.
        InputError: the bundle, an artifact, a taps file or a reference cannot be used.
    """
    from edgeticket.pipeline.diff import Bounds
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.reference.diff import diff_bundle

    if on is not None and taps:
        raise InputError("--on taps a device now, --taps judges what was tapped: give one of them")
    return diff_bundle(
        Path(bundle),
        artifacts=artifacts,
        taps=[Path(file) for file in taps],
        on=on,
        samples=samples,
        references=optional_path(reference),
        alone=alone,
        code=optional_path(code),
        bounds=Bounds(lsb=max_lsb, exact=min_equal),
        progress=progress or QUIET,
    )
