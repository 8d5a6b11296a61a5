"""What machines are called on a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.report import Report


def name_places(reports: Sequence[tuple[Path, Report]]) -> list[str]:
    """What each report's machine is called: board or CPU, and where several sessions were held on
    machines of one name, the folder that holds the reports, else a number."""
    sessions: dict[tuple[str, str], list[str]] = {}
    for file, report in reports:
        key = (report.session.id, _machine(report))
        sessions.setdefault(key, []).append(plain(file.parent.name))
    machines = Counter(machine for _, machine in sessions)
    folders = {key: names[0] if len(set(names)) == 1 else "" for key, names in sessions.items()}
    titles: dict[tuple[str, str], str] = {}
    for key, folder in folders.items():
        machine = key[1]
        if machines[machine] == 1:
            titles[key] = machine
            continue
        alike = [other for other in folders if other[1] == machine]
        is_told = folder and len({folders[other] for other in alike}) == len(alike)
        titles[key] = f"{machine} ({folder if is_told else f'session {alike.index(key) + 1}'})"
    return [titles[report.session.id, _machine(report)] for _, report in reports]


def _machine(report: Report) -> str:
    machine = report.machine
    known = (name for name in (machine.board, machine.cpu) if isinstance(name, str))
    emulated = ", emulated" if isinstance(machine.emulated, str) else ""
    return plain(next(known, machine.architecture)) + emulated
