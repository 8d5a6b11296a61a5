"""The command ``device-runner``: arguments in, tables and report files out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from edgeticket.device_runner import __version__
from edgeticket.device_runner.commands import bench, check, energy, info, layers, probe, prove, tap
from edgeticket.device_runner.commands.arguments import STYLE
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain

DESCRIPTION = """\
Measures the models of a bundle on this machine: latency, accuracy, cold start, memory, energy.

A bundle is a folder, or a .zip of its contents, with a manifest.json. Each model file
in it, called an artifact, is for one runtime (ort: ONNX Runtime, tflite: LiteRT) and one
precision (fp32, int8). Install one runtime to begin with: pip install ai-edge-litert"""

EXAMPLES = """\
example:
  device-runner check digits.zip                  # is it whole? what is in it?
  device-runner info                              # what machine is this? fit to measure?
  device-runner bench digits.zip -o reports/      # measure all that runs here
  device-runner prove digits.zip                  # does it still answer as it was tested?
  device-runner tap digits.zip --artifact ticket-tflite-int8 -o taps.npz
  device-runner energy reports/*.json --meter log.csv

exit status: 0 done, 1 the answer is no, 2 something given cannot be used, 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line -> exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"device-runner: error: {plain(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("device-runner: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="device-runner", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=STYLE
    )
    parser.add_argument("--version", action="version", version=f"device-runner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (bench, prove, layers, tap, probe, check, info, energy):
        command.add(commands)
    return parser
