"""``device-runner bench``: measure artifacts, write reports, say whether they are valid."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.latency import MIN_QUERIES, MIN_SECONDS, WARMUP_SECONDS
from edgeticket.device_runner.plan import Plan
from edgeticket.device_runner.scenarios import BATCH
from edgeticket.device_runner.terminal import (
    ProgressLine,
    placement_lines,
    report_table,
    sustained_lines,
    validity_lines,
)
from edgeticket.device_runner.windows import WINDOWS

if TYPE_CHECKING:
    from edgeticket.device_runner.report import Report

METHOD = """\
All selected artifacts are measured side by side, in turns of 0.1 s, so that their ratios
are fair. A query is: input copied in, inference, output copied out. Both --min-seconds
and --min-queries must be reached by every artifact. p50, p90 and p99 need 11, 64 and 662
queries; with fewer they are reported as unavailable.

Each report says whether it is VALID: clock, heat, throttling, supply, other load, swap and
clock steps are looked at before, between the turns, and after. A machine that tells none of
this is VALID if its own times are steady; what could not be looked at is listed."""

EXAMPLES = """\
example:
  device-runner bench digits.zip -o reports/      # measure all that runs here
  device-runner bench digits.zip --runtime tflite --precision int8 -o int8.json
  device-runner bench digits.zip -o reports/ --strict --cooldown 50 --cores 2-3
  device-runner bench digits.zip -o reports/ --rate 30          # like a camera
  device-runner bench digits.zip -o reports/ --threads 1,2,4    # each with each
  device-runner bench digits.zip -o reports/ --sustain 30m --artifact ID    # when it is hot

exit status: 0 done, 1 a report is INVALID (with --strict), 2 something given cannot be used,
130 interrupted"""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    bench = commands.add_parser(
        "bench", help="measure artifacts and write reports", description=METHOD,
        epilog=EXAMPLES, formatter_class=a.STYLE,
    )  # fmt: skip
    bench.set_defaults(run=run)
    bench.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    a.add_trust(bench)
    bench.add_argument(
        "-o", "--output", type=Path, default=Path("reports"), metavar="PATH",
        help="one report: a file ending in .json; else a folder for <artifact id>.json each "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_selection(bench.add_argument_group("what to measure"))
    _add_timing(bench.add_argument_group("how to time it"))
    _add_machine(bench.add_argument_group("what to ask of the machine"))


def _add_selection(group: a.Group) -> None:
    group.add_argument("--runtime", metavar="NAME", help="only artifacts for it: ort or tflite")
    group.add_argument("--precision", metavar="NAME", help="only artifacts of it: fp32 or int8")
    group.add_argument(
        "--artifact", action="append", metavar="ID",
        help="only this one, for whatever machine; may be given often",
    )  # fmt: skip
    group.add_argument(
        "--samples", type=a.samples, metavar="N|DIR",
        help="accuracy over the first N samples only, or over a folder on this device: inputs.npy "
        "and labels.npy, or a folder per class of .npy or .png files",
    )  # fmt: skip
    group.add_argument(
        "--beam", type=a.count, metavar="N",
        help="of networks that transcribe: keep the N likeliest beginnings (default: greedily)",
    )  # fmt: skip
    group.add_argument(
        "--outputs",
        type=Path,
        metavar="DIR",
        help="keep raw outputs as DIR/<artifact id>.npy, or DIR/<artifact id>/<number>.npy",
    )
    group.add_argument(
        "--outputs-packed",
        type=Path,
        metavar="DIR",
        help="the same as one DIR/<artifact id>.npz each, of arrays output_0, output_1, ...",
    )


def _add_timing(group: a.Group) -> None:
    scenario = group.add_mutually_exclusive_group()
    scenario.add_argument(
        "--rate", type=a.hertz, metavar="HZ",
        help="Paced instead of SingleStream: so many frames a second, each latency from the "
        "moment its frame was due; one artifact after another",
    )  # fmt: skip
    scenario.add_argument(
        "--offline", type=a.count, nargs="?", const=BATCH, metavar="BATCH",
        help="Offline instead: throughput with BATCH samples in a query (default: %(const)s) where "
        "the file takes them, else of single queries; the report says which",
    )  # fmt: skip
    scenario.add_argument(
        "--sustain", type=a.minutes, metavar="30m",
        help="Sustained instead: queries without a pause for so long; p50, p90, clock and "
        "temperature of each minute, the minute in which it throttles, and the steady p90. "
        "Times of the report are those of the last minute",
    )  # fmt: skip
    group.add_argument(
        "--threads", type=a.counts, default=(1,), metavar="N[,N]",
        help="within one inference; several: each artifact with each (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--min-seconds", type=a.seconds, default=MIN_SECONDS, metavar="S",
        help="timed at least, per artifact (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--min-queries", type=a.count, default=MIN_QUERIES, metavar="N",
        help="timed at least, per artifact (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--warmup-seconds", type=a.seconds, default=WARMUP_SECONDS, metavar="S",
        help="untimed before that, per artifact (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--windows", type=a.count, default=WINDOWS, metavar="N",
        help="tell spread and drift of the median over N windows (default: %(default)s)",
    )  # fmt: skip


def _add_machine(group: a.Group) -> None:
    group.add_argument("--strict", action="store_true", help="exit with 1 if a report is INVALID")
    group.add_argument(
        "--cooldown", type=a.celsius, metavar="C",
        help="first wait until the CPU is below C degrees Celsius, or gets no cooler",
    )  # fmt: skip
    group.add_argument("--cores", type=a.cores, metavar="LIST", help="keep to CPU cores, like 2-3")
    group.add_argument(
        "--energy-seconds", type=a.seconds, metavar="S",
        help="run each artifact so long for its power, apart from timing (default: 2 if there is "
        "a sensor; 0: never)",
    )  # fmt: skip
    group.add_argument(
        "--meter", type=Path, metavar="CSV",
        help="log of a power meter that is running now: columns time (Unix seconds or ISO 8601) "
        "and power_w, or voltage_v and current_a. For a log from elsewhere: `energy`",
    )  # fmt: skip
    group.add_argument(
        "--cpu-only", action="store_true",
        help="leave GPU providers of ONNX Runtime (TensorRT, CUDA) aside",
    )  # fmt: skip
    group.add_argument(
        "--no-amx", dest="amx", action="store_false",
        help="keep Intel's AMX from the runtimes: LiteRT uses it even where it is slower, and "
        "boards have none",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, write, print -> exit status."""
    a.ask_signature(options)
    from edgeticket.device_runner.atomic import make_folder
    from edgeticket.device_runner.bench import bench
    from edgeticket.device_runner.bundle import open_bundle
    from edgeticket.device_runner.report import write_report
    from edgeticket.device_runner.selection import select
    from edgeticket.device_runner.validity import INVALID

    asked = {name: getattr(options, name) for name in ("runtime", "precision", "artifact")}
    output: Path = options.output
    single = output.suffix == ".json"
    if single:
        with open_bundle(options.bundle) as bundle:
            ids = [entry.id for entry in select(bundle.manifest, **asked).chosen]
        if len(ids) != 1 or len(options.threads) != 1:
            raise InputError(
                f"-o {output} takes one report, but {len(ids)} artifacts are selected "
                f"({', '.join(ids)}), with {len(options.threads)} numbers of threads: choose one "
                "with --artifact and --threads, or give a folder"
            )
    folder = output.parent if single else output
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}: permission denied")
    progress = ProgressLine()
    reports = bench(
        options.bundle,
        plan=_plan(options),
        **asked,
        samples=options.samples,
        outputs=options.outputs,
        packed=options.outputs_packed,
        progress=progress.show,
    )
    progress.end()
    for report in reports:
        write_report(report, output if single else output / _name(report, options.threads))
    print(report_table(reports))
    for line in (
        *sustained_lines(reports),
        *placement_lines(reports),
        *validity_lines(reports),
    ):
        print(line)
    print(f"\n{len(reports)} report{'s' if len(reports) > 1 else ''} in {output}")
    invalid = any(report.validity.verdict == INVALID for report in reports)
    return 1 if options.strict and invalid else 0


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        threads=options.threads,
        min_seconds=options.min_seconds,
        min_queries=options.min_queries,
        warmup_seconds=options.warmup_seconds,
        windows=options.windows,
        rate_hz=options.rate,
        sustain_minutes=options.sustain,
        batch=options.offline,
        cores=options.cores,
        cooldown_c=options.cooldown,
        energy_seconds=options.energy_seconds,
        meter=options.meter,
        amx=options.amx,
        cpu_only=options.cpu_only,
        beam=options.beam,
    )


def _name(report: Report, threads: Sequence[int]) -> str:
    suffix = f"-threads{report.runtime.threads}" if len(threads) > 1 else ""
    return f"{report.artifact.id}{suffix}.json"
