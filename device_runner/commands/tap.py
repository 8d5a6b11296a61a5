"""``device-runner tap``: keep the output of every layer."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.terminal import ProgressLine

TAPS = """\
Runs samples through one artifact and keeps the output of every layer in a .npz file. On the
host, `edgeticket diff BUNDLE --taps FILE` says at which layer this machine parts from it."""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    tap = commands.add_parser(
        "tap", help="keep every layer's output, to compare with the host's", description=TAPS,
        formatter_class=a.STYLE,
    )  # fmt: skip
    tap.set_defaults(run=run)
    tap.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    a.add_trust(tap)
    tap.add_argument("--artifact", required=True, metavar="ID", help="which model file")
    tap.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="for example taps.npz"
    )
    tap.add_argument(
        "--samples", type=a.count, default=16, metavar="N",
        help="the first N (default: %(default)s)",
    )  # fmt: skip
    tap.add_argument(
        "--threads", type=a.count, default=1, metavar="N", help="within one inference (default: 1)"
    )
    tap.add_argument(
        "--no-amx", dest="amx", action="store_false", help="keep Intel's AMX from the runtimes"
    )


def run(options: argparse.Namespace) -> int:
    """Tap and say what was kept -> exit status."""
    a.ask_signature(options)
    from edgeticket.device_runner.taps.tap import tap

    progress = ProgressLine()
    facts = tap(
        options.bundle,
        options.output,
        artifact=options.artifact,
        samples=options.samples,
        threads=options.threads,
        amx=options.amx,
        progress=progress.show,
    )
    progress.end()
    print(
        f"{len(facts.values)} values of {facts.samples} samples in {options.output} "
        f"({options.output.stat().st_size / 1e6:.1f} MB)"
    )
    if facts.same_outputs < facts.samples:
        print(
            f"with taps the outputs of {facts.samples - facts.same_outputs} samples differ, by "
            f"{facts.output_difference:.3g} at most: the runtime optimises a tapped file otherwise"
        )
    return 0
