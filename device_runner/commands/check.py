"""``device-runner check``: is a bundle whole, and what is in it?"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.device_runner.terminal import table


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    check = commands.add_parser(
        "check", help="verify every file of a bundle and list its artifacts"
    )
    check.set_defaults(run=run)
    check.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    a.add_trust(check)


def run(options: argparse.Namespace) -> int:
    """Verify and list -> exit status."""
    from edgeticket.device_runner.check import check_bundle
    from edgeticket.device_runner.instructions import warn_inexact
    from edgeticket.device_runner.machine import describe_machine
    from edgeticket.device_runner.manifest import CLASSES, NOTHING, TRANSCRIPTS
    from edgeticket.device_runner.runtimes import why_unusable

    manifest = check_bundle(options.bundle, trust=a.trust_of(options))
    rows = [("artifact", "runtime", "precision", "input", "size", "for")]
    sizes = {file.path: file.size_bytes for file in manifest.files}
    for entry in manifest.artifacts:
        shape = ", ".join(f"{spec.dtype} {'x'.join(map(str, spec.shape))}" for spec in entry.inputs)
        machines, size = " ".join(entry.architectures), f"{sizes[entry.file] / 1000:.0f} kB"
        rows.append((entry.id, entry.runtime, entry.precision, shape, size, machines))
    print(table(rows))
    here = describe_machine()
    for entry in manifest.artifacts:
        warning = warn_inexact(entry, manifest.artifacts, here)
        if warning is not None and here.architecture in entry.architectures:
            print(f"warning: {warning}")
    for name in dict.fromkeys(entry.runtime for entry in manifest.artifacts):
        reason = why_unusable(name)
        if reason is not None:
            print(clean_line(f"warning: {reason}", longest=2000))
    samples = manifest.samples
    told = {
        CLASSES: f"{len(manifest.labels)} classes",
        TRANSCRIPTS: f"{len(manifest.labels)} symbols",
        NOTHING: "fidelity alone",
    }
    asked = f"{manifest.task.name}{' without targets' * (samples.targets is None)}"
    data = f"samples of {samples.dataset} {samples.split}"
    if samples.random is not None:
        data = f"random samples (seed {samples.random}), which are noise and no data"
    print(
        f"\n{manifest.name} is whole: {len(manifest.files)} files verified, {samples.count} "
        f"{data}, {told.get(manifest.task.name, asked)}"
    )
    return 0
