"""``device-runner layers``: how long each layer of an artifact takes, and who ran it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.terminal import ProgressLine, finding_lines, table

if TYPE_CHECKING:
    from edgeticket.device_runner.layers.report import LayerReport

METHOD = """\
Times every layer of one artifact, on the CPU. The file is cut behind each operator, and a layer is
what the next beginning takes longer; of ONNX Runtime it is the file as its optimiser leaves it, so
layers are the kernels that run. The last lines hold the sum against the whole file, timed as it is;
the rest is calls, and copies in and out."""

EXAMPLES = """\
example:
  device-runner layers digits.zip --artifact ticket-tflite-int8
  device-runner layers digits.zip --artifact ticket-onnx-int8-s8 -o layers.json"""


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    layers = commands.add_parser(
        "layers", help="time every layer of an artifact", description=METHOD, epilog=EXAMPLES,
        formatter_class=a.STYLE,
    )  # fmt: skip
    layers.set_defaults(run=run)
    layers.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder or .zip")
    a.add_trust(layers)
    layers.add_argument("--artifact", required=True, metavar="ID", help="which model file")
    layers.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="a report, too")
    a.add_turns(layers, of="beginning")


def run(options: argparse.Namespace) -> int:
    """Measure, print, write -> exit status."""
    a.ask_signature(options)
    from edgeticket.device_runner.layers import time_layers
    from edgeticket.device_runner.layers.report import write_layers
    from edgeticket.device_runner.validity import INVALID

    progress = ProgressLine()
    report = time_layers(
        options.bundle,
        artifact=options.artifact,
        **a.turns_of(options),
        progress=progress.show,
    )
    progress.end()
    print(layer_table(report))
    for line in finding_lines(report.validity):
        print(line)
    if report.statistic == "min":
        print("INVALID, so times are those of the fastest queries")
    if options.output is not None:
        write_layers(report, options.output)
    return 1 if options.strict and report.validity.verdict == INVALID else 0


def layer_table(report: LayerReport) -> str:
    """A row for each layer, then the sum against the whole."""
    whole = max(1, report.whole_ns)
    rows = [["layer", "operator", "format", "by", "µs", "share"]]
    rows += [
        [
            layer.name,
            layer.kind,
            layer.precision,
            layer.by,
            f"{layer.time_ns / 1e3:.1f}",
            f"{layer.time_ns / whole:.1%}",
        ]
        for layer in report.layers
    ]
    for title, time in (("sum", report.sum_ns), ("rest", report.rest_ns), ("whole", whole)):
        rows.append([title, "", "", "", f"{time / 1e3:.1f}", f"{time / whole:.1%}"])
    return table(rows)
