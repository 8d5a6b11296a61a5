"""``device-runner prove``: does this device still run what was tested?"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.plain_text import clean_line

METHOD = """\
Holds this device to what the bundle promises: every file whole, the first samples answered
as on the machine that made it (bit for bit where that is known to be exact, within bounds
elsewhere), operators run where they were to run, and, if asked, inferences fast enough.
One line says what came of it; -o keeps it as JSON."""

EXAMPLES = """\
example:
  device-runner prove digits.zip                       # at boot, or after an upgrade
  device-runner prove digits.zip --max-p90-ms 20 -o proof.json

exit status: 0 proven, 2 something given cannot be used, 3 files are not whole,
4 the signature is not right, 5 answers differ, 6 operators ran elsewhere, 7 too slow,
130 interrupted"""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    prove = commands.add_parser(
        "prove", help="show that this device still runs what was tested",
        description=METHOD, epilog=EXAMPLES, formatter_class=a.STYLE,
    )  # fmt: skip
    prove.set_defaults(run=run)
    prove.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    prove.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="keep the proof")
    prove.add_argument("--runtime", metavar="NAME", help="only artifacts for it: ort or tflite")
    prove.add_argument(
        "--artifact", action="append", metavar="ID",
        help="only this one; may be given often (default: all for deployment that run here)",
    )  # fmt: skip
    latency = prove.add_mutually_exclusive_group()
    latency.add_argument(
        "--max-p90-ms", type=a.milliseconds, metavar="MS",
        help="also ask that nine of ten inferences take no longer",
    )  # fmt: skip
    latency.add_argument(
        "--budget", action="store_true", help="the same with the number in the manifest"
    )
    prove.add_argument(
        "--anywhere", dest="placement", action="store_false",
        help="do not ask which provider or delegate ran the operators",
    )  # fmt: skip
    prove.add_argument(
        "--cpu-only", action="store_true", help="keep GPUs from ONNX Runtime, as in `bench`"
    )
    a.add_trust(prove)
    prove.add_argument(
        "--threads", type=a.count, default=1, metavar="N", help="within one inference (default: 1)"
    )


def run(options: argparse.Namespace) -> int:
    """Prove, say so in a line -> exit status."""
    from edgeticket.device_runner.proving import Wanted, prove
    from edgeticket.device_runner.proving.verdicts import write_proof

    wanted = Wanted(
        artifacts=tuple(options.artifact or ()),
        runtime=options.runtime,
        placement=options.placement,
        max_p90_ns=None if options.max_p90_ms is None else int(options.max_p90_ms * 1e6),
        budget=options.budget,
        threads=options.threads,
        cpu_only=options.cpu_only,
        trust=a.trust_of(options),
    )
    report = prove(options.bundle, wanted)
    if options.output is not None:
        write_proof(report, options.output)
    print(clean_line(report.line, longest=2000))
    return report.status
