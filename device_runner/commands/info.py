"""``device-runner info``: what this machine is, what it is doing, and what spoils measurements."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from edgeticket.device_runner.commands import arguments as a
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.terminal import finding_lines, table, words
from edgeticket.device_runner.unavailable import Unavailable

if TYPE_CHECKING:
    from edgeticket.device_runner.runtimes import Runtime


def add(commands: a.Commands) -> None:
    """Define the command's arguments."""
    about = commands.add_parser(
        "info", help="describe this machine and its runtimes, and what spoils measurements here"
    )
    about.set_defaults(run=run)
    about.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Look and print -> exit status."""
    from edgeticket.device_runner.machine import describe_machine
    from edgeticket.device_runner.readings import take_readings
    from edgeticket.device_runner.runtimes import RUNTIMES
    from edgeticket.device_runner.strict_json import format_json, to_json
    from edgeticket.device_runner.validity import judge_now

    machine, now = describe_machine(), take_readings()
    validity = judge_now(machine, now)
    found = {
        "machine": to_json(machine),
        "now": to_json(now),
        "runtimes": {name: _describe_runtime(runtime) for name, runtime in RUNTIMES.items()},
    }
    if options.json:
        sys.stdout.write(format_json({**found, "validity": to_json(validity)}).decode("utf-8"))
        return 0
    for title, values in found.items():
        print(title)
        print(table([(f"  {name}", words(value)) for name, value in values.items()]))
    print("measuring here")
    for line in finding_lines(validity):
        print(f"  {line}")
    if not (validity.reasons or validity.warnings):
        print("  nothing speaks against it now")
    return 0


def _describe_runtime(runtime: Runtime) -> object:
    """Installed package and version, or why there is none."""
    from edgeticket.device_runner.runtimes.session import installed_version
    from edgeticket.device_runner.strict_json import to_json

    try:
        package = runtime.choose()
    except InputError as error:
        return to_json(Unavailable(str(error)))
    return {"package": package, "version": to_json(installed_version(package))}
