"""The command ``device-runner``: arguments in, tables and report files out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from device_runner import __version__
from device_runner.errors import InputError
from device_runner.latency import MIN_QUERIES, MIN_SECONDS, WARMUP_SECONDS
from device_runner.terminal import ProgressLine, report_table, table, words
from device_runner.unavailable import Unavailable

if TYPE_CHECKING:
    from device_runner.runtimes import Runtime

# numpy and the runtimes are imported by the commands that need them: --help must answer at once
# on a small board.

DESCRIPTION = """\
Measures the models of a bundle on this machine: latency, accuracy, cold start, memory.

A bundle is a folder, or a .zip of its contents, with a manifest.json. Each model file
in it, called an artifact, is for one runtime (ort: ONNX Runtime, tflite: LiteRT) and one
precision (fp32, int8). Install one runtime to begin with: pip install ai-edge-litert"""

EXAMPLES = """\
example:
  device-runner check digits.zip                  # is it whole? what is in it?
  device-runner info                              # what machine is this?
  device-runner bench digits.zip -o reports/      # measure all that runs here
  device-runner bench digits.zip --runtime tflite --precision int8 -o int8.json
  device-runner tap digits.zip --artifact ticket-tflite-int8 -o taps.npz

exit status: 0 done, 2 something given cannot be used, 130 interrupted"""

METHOD = """\
All selected artifacts are measured side by side, in turns of 0.1 s, so that their ratios
are fair. A query is: input copied in, inference, output copied out. Both --min-seconds
and --min-queries must be reached by every artifact. p50, p90 and p99 need 11, 64 and 662
queries; with fewer they are reported as unavailable. Close other programs, and let the
machine cool down before a long run."""

TAPS = """\
Runs samples through one artifact and keeps the output of every layer in a .npz file. On the
host, `edgeticket diff BUNDLE --taps FILE` says at which layer this machine parts from it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line -> exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"device-runner: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("device-runner: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="device-runner", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=style
    )
    parser.add_argument("--version", action="version", version=f"device-runner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    bench = commands.add_parser(
        "bench", help="measure artifacts and write reports", description=METHOD,
        epilog=EXAMPLES, formatter_class=style,
    )  # fmt: skip
    bench.set_defaults(run=_bench)
    bench.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    bench.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PATH",
        help="one artifact: a file ending in .json; else a folder for <artifact id>.json each",
    )  # fmt: skip
    bench.add_argument("--runtime", metavar="NAME", help="only artifacts for it: ort or tflite")
    bench.add_argument("--precision", metavar="NAME", help="only artifacts of it: fp32 or int8")
    bench.add_argument("--artifact", metavar="ID", help="only this one, for whatever machine")
    bench.add_argument(
        "--threads", type=_count, default=1, metavar="N", help="within one inference (default: 1)"
    )
    bench.add_argument(
        "--min-seconds", type=_seconds, default=MIN_SECONDS, metavar="S",
        help="timed at least, per artifact (default: %(default)s)",
    )  # fmt: skip
    bench.add_argument(
        "--min-queries", type=_count, default=MIN_QUERIES, metavar="N",
        help="timed at least, per artifact (default: %(default)s)",
    )  # fmt: skip
    bench.add_argument(
        "--warmup-seconds", type=_seconds, default=WARMUP_SECONDS, metavar="S",
        help="untimed before that, per artifact (default: %(default)s)",
    )  # fmt: skip
    bench.add_argument(
        "--samples", type=_count, metavar="N", help="accuracy over the first N samples only"
    )
    bench.add_argument(
        "--no-amx", dest="amx", action="store_false",
        help="keep Intel's AMX from the runtimes: LiteRT uses it even where it is slower, and "
        "boards have none",
    )  # fmt: skip
    bench.add_argument(
        "--outputs", type=Path, metavar="DIR", help="keep raw outputs as DIR/<artifact id>.npy"
    )

    tap = commands.add_parser(
        "tap", help="keep every layer's output, to compare with the host's", description=TAPS,
        formatter_class=style,
    )  # fmt: skip
    tap.set_defaults(run=_tap)
    tap.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    tap.add_argument("--artifact", required=True, metavar="ID", help="which model file")
    tap.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="for example taps.npz"
    )
    tap.add_argument(
        "--samples", type=_count, default=16, metavar="N", help="the first N (default: %(default)s)"
    )
    tap.add_argument(
        "--threads", type=_count, default=1, metavar="N", help="within one inference (default: 1)"
    )
    tap.add_argument(
        "--no-amx", dest="amx", action="store_false", help="keep Intel's AMX from the runtimes"
    )

    check = commands.add_parser(
        "check", help="verify every file of a bundle and list its artifacts"
    )
    check.set_defaults(run=_check)
    check.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")

    about = commands.add_parser("info", help="describe this machine and its runtimes")
    about.set_defaults(run=_info)
    about.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _bench(options: argparse.Namespace) -> int:
    from device_runner.atomic import make_folder
    from device_runner.bench import bench
    from device_runner.bundle import open_bundle
    from device_runner.report import write_report
    from device_runner.selection import select

    asked = {name: getattr(options, name) for name in ("runtime", "precision", "artifact")}
    output: Path = options.output
    single = output.suffix == ".json"
    if single:
        with open_bundle(options.bundle) as bundle:
            ids = [entry.id for entry in select(bundle.manifest, **asked).chosen]
        if len(ids) != 1:
            raise InputError(
                f"-o {output} takes one report, but {len(ids)} artifacts are selected: "
                f"choose one with --artifact ({', '.join(ids)}), or give a folder"
            )
    folder = output.parent if single else output
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}: permission denied")
    progress = ProgressLine()
    reports = bench(
        options.bundle,
        **asked,
        threads=options.threads,
        min_seconds=options.min_seconds,
        min_queries=options.min_queries,
        warmup_seconds=options.warmup_seconds,
        samples=options.samples,
        amx=options.amx,
        outputs=options.outputs,
        progress=progress.show,
    )
    progress.end()
    for report in reports:
        write_report(report, output if single else output / f"{report.artifact.id}.json")
    print(report_table(reports))
    print(f"\n{len(reports)} report{'s' if len(reports) > 1 else ''} in {output}")
    return 0


def _tap(options: argparse.Namespace) -> int:
    from device_runner.taps.tap import tap

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


def _check(options: argparse.Namespace) -> int:
    from device_runner.check import check_bundle
    from device_runner.instructions import warn_inexact
    from device_runner.machine import describe_machine

    manifest = check_bundle(options.bundle)
    rows = [("artifact", "runtime", "precision", "input", "size", "for")]
    sizes = {file.path: file.size_bytes for file in manifest.files}
    for entry in manifest.artifacts:
        shape = f"{entry.input.dtype} {'x'.join(map(str, entry.input.shape))}"
        machines, size = " ".join(entry.architectures), f"{sizes[entry.file] / 1000:.0f} kB"
        rows.append((entry.id, entry.runtime, entry.precision, shape, size, machines))
    print(table(rows))
    here = describe_machine()
    for entry in manifest.artifacts:
        warning = warn_inexact(entry, manifest.artifacts, here)
        if warning is not None and here.architecture in entry.architectures:
            print(f"warning: {warning}")
    samples = manifest.samples
    print(
        f"\n{manifest.name} is whole: {len(manifest.files)} files verified, {samples.count} "
        f"samples of {samples.dataset} {samples.split}, {len(manifest.labels)} classes"
    )
    return 0


def _info(options: argparse.Namespace) -> int:
    from device_runner.machine import describe_machine
    from device_runner.readings import take_readings
    from device_runner.runtimes import RUNTIMES
    from device_runner.strict_json import format_json, to_json

    found = {
        "machine": to_json(describe_machine()),
        "now": to_json(take_readings()),
        "runtimes": {name: _describe_runtime(runtime) for name, runtime in RUNTIMES.items()},
    }
    if options.json:
        sys.stdout.write(format_json(found).decode("utf-8"))
        return 0
    for title, values in found.items():
        print(title)
        print(table([(f"  {name}", words(value)) for name, value in values.items()]))
    return 0


def _describe_runtime(runtime: Runtime) -> object:
    """Installed package and version, or why there is none."""
    from device_runner.runtimes.session import installed_version
    from device_runner.strict_json import to_json

    try:
        package, _ = runtime.find()
    except InputError as error:
        return to_json(Unavailable(str(error)))
    return {"package": package, "version": to_json(installed_version(package))}


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and int(text) > 0 else _refuse(text, "a number from 1")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    return seconds if 0 <= seconds <= 86400 else _refuse(text, "seconds from 0 to 86400")


def _refuse(text: str, wanted: str) -> NoReturn:
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
