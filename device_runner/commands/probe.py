"""``device-runner probe``: time many small artifacts in one session."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.terminal import ProgressLine, finding_lines, table

METHOD = """\
Times all artifacts of a bundle side by side in turns of some milliseconds, and nothing else:
no accuracy, no cold start. `bench` answers for a few artifacts; this is for hundreds of small
ones, such as the single steps of a network, which `edgeticket predict` adds up. Inputs are drawn.

The session says whether it is VALID, as a report of `bench` does."""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    probe = commands.add_parser(
        "probe", help="time many small artifacts, such as the steps of a network",
        description=METHOD, formatter_class=a.STYLE,
    )  # fmt: skip
    probe.set_defaults(run=run)
    probe.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    a.add_trust(probe)
    probe.add_argument(
        "-o", "--output", type=Path, default=Path("probes.json"), metavar="FILE.json",
        help="the report (default: %(default)s)",
    )  # fmt: skip
    probe.add_argument("--runtime", metavar="NAME", help="only artifacts for it: ort or tflite")
    probe.add_argument(
        "--artifact", action="append", metavar="ID", help="only this one; may be given often"
    )
    a.add_turns(probe, of="artifact")


def run(options: argparse.Namespace) -> int:
    """Measure, write, print -> exit status."""
    a.ask_signature(options)
    from edgeticket.device_runner.probes import probe
    from edgeticket.device_runner.probes.report import write_probes
    from edgeticket.device_runner.unavailable import Unavailable
    from edgeticket.device_runner.validity import INVALID

    progress = ProgressLine()
    report = probe(
        options.bundle,
        **a.turns_of(options),
        runtime=options.runtime,
        artifact=options.artifact,
        progress=progress.show,
    )
    progress.end()
    write_probes(report, options.output)
    rows = [
        (
            one.artifact,
            "—" if isinstance(one.time, Unavailable) else f"{one.time.p50_ns / 1e3:.1f}",
            one.time.reason if isinstance(one.time, Unavailable) else "",
        )
        for one in report.probes
    ]
    print(table([("artifact", "p50 µs", ""), *rows]))
    for line in finding_lines(report.validity):
        print(line)
    print(f"\n{report.validity.verdict}: {len(report.probes)} probes in {options.output}")
    return 1 if options.strict and report.validity.verdict == INVALID else 0
