"""``device-runner energy``: what a power meter logged, added to reports by time stamps."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.terminal import table
from edgeticket.device_runner.unavailable import Unavailable

METHOD = """\
Adds energy per inference to reports, from the CSV log of a power meter that ran while they
were measured. Its first line names the columns: time (Unix seconds, or ISO 8601 with Z or an
offset) and power_w, or voltage_v and current_a. Measure with --energy-seconds 10 or more, so
that the log has rows enough, and synchronise both clocks (or see --offset)."""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    energy = commands.add_parser(
        "energy", help="add a power meter's log to reports", description=METHOD,
        formatter_class=a.STYLE,
    )  # fmt: skip
    energy.set_defaults(run=run)
    energy.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="report files")
    energy.add_argument("--meter", type=Path, required=True, metavar="CSV", help="the log")
    energy.add_argument(
        "--offset", type=float, default=0.0, metavar="S",
        help="add S seconds to the log's times: the device's clock minus the meter's",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Read everything, then write every report -> exit status."""
    from dataclasses import replace

    from edgeticket.device_runner.energy import add_meter
    from edgeticket.device_runner.energy.meter import read_meter
    from edgeticket.device_runner.report import read_report, write_report

    log = read_meter(options.meter, offset_s=options.offset)
    source = f"meter {log.name}"
    rows = [("report", "W", "W at rest", "mJ per inference", "above rest")]
    weighed = []
    for path in options.reports:
        report = read_report(path)
        if isinstance(report.energy, Unavailable):
            raise InputError(
                f"{path} has no energy part ({report.energy.reason}): measure again with "
                "--energy-seconds 10"
            )
        energy = add_meter(report.energy, log)
        if source in energy.missing:
            raise InputError(f"{path}: {energy.missing[source]}")
        weighed.append((path, replace(report, energy=energy)))
        told = energy.sources[-1]
        rows.append(
            (
                str(path),
                f"{told.mean_w:.3f}",
                _scaled(told.idle_w, 1, 3),
                _scaled(told.per_inference_j, 1e3, 4),
                _scaled(told.above_idle_j, 1e3, 4),
            )
        )
    for path, report in weighed:
        write_report(report, path)
    print(table(rows))
    return 0


def _scaled(value: float | Unavailable, factor: float, digits: int) -> str:
    return "-" if isinstance(value, Unavailable) else f"{value * factor:.{digits}f}"
