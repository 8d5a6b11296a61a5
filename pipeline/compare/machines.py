"""Which machine a report is of."""

from __future__ import annotations

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable


def key_of(report: Report) -> tuple[object, ...]:
    """What makes a machine itself.

    Another kernel or system on it is told, and another power mode of a Jetson is another machine.
    """
    machine = report.machine
    clocks = machine.max_frequency_hz
    return (
        *(machine.board, machine.cpu, machine.architecture, machine.cores),
        machine.int8_instructions,
        clocks if isinstance(clocks, Unavailable) else tuple(sorted(clocks.items())),
        machine.emulated,
        report.before.power_mode,
    )


def name_of(report: Report) -> str:
    """The board, else the processor, else the architecture."""
    for name in (report.machine.board, report.machine.cpu):
        if isinstance(name, str):
            return name
    return report.machine.architecture
