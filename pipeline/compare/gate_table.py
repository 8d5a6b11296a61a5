"""Many cases for people, readable at 80 columns: names are never cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.compare.result import Comparison, tell_ms, tell_times
from edgeticket.pipeline.text import plain

if TYPE_CHECKING:
    from edgeticket.pipeline.compare.gate import Case, Gate


def print_gate(gate: Gate, console: Console) -> None:
    """What the cases of a group share stands above them; each is a row, or a block where rows
    are too wide; below stands what else differs, once, and what is wrong."""
    names = _names(gate.cases)
    groups: dict[str, list[Case]] = {}
    for case in gate.cases:
        if case.comparison is not None:
            groups.setdefault(_heading(case), []).append(case)
    for heading, cases in groups.items():
        console.print(Text(plain(heading), style="bold"))
        rows = [
            _cells(case.comparison, names[id(case)])
            for case in cases
            if case.comparison is not None
        ]
        table = _table(rows)
        wanted = Measurement.get(console, console.options.update(width=10_000), table).maximum
        if wanted <= console.width:
            console.print(table)
        else:
            for row in rows:
                _print_block(row, console)
    noted = Counter(note for case in gate.cases for note in case.notes)
    for note, count in noted.items():
        of = "" if count == len(gate.cases) else f" ({count} of {len(gate.cases)})"
        console.print(Text(f"note{of}: {plain(note)}"))
    for case in gate.cases:
        for sentence in case.wrongs:
            console.print(Text(f"{case.outcome}: {plain(case.path)}: {plain(sentence)}"))


def _names(cases: Sequence[Case]) -> dict[int, str]:
    """What each case is called: its artifact, and its file where that does not tell it apart."""
    alike = Counter((case.artifact, _heading(case)) for case in cases)
    return {
        id(case): case.artifact
        if alike[case.artifact, _heading(case)] == 1
        else f"{case.artifact} ({case.path})"
        for case in cases
    }


def _heading(case: Case) -> str:
    found = case.comparison
    if found is None:
        return "not comparable"
    artifact, _, machine = found.before.partition(" on ")
    after_machine = found.after.partition(" on ")[2]
    if found.kind == "platform":
        return f"platform: on {after_machine}, against {machine}"
    return f"{found.kind}: on {after_machine}, against {artifact}"


def _cells(found: Comparison, name: str) -> tuple[str, ...]:
    remarks = ["broken"] * bool(found.broken_limits) + [found.verdicts[1]]
    return (
        name,
        " → ".join(map(tell_ms, found.p50_ms)),
        tell_times(found.speedup_p50),
        found.told_score,
        found.told_agreement,
        ", ".join(remark for remark in remarks if remark != VALID) or "ok",
    )


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        left = heading in ("artifact", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def _print_block(row: Sequence[str], console: Console) -> None:
    name, p50, faster, score, agree, outcome = map(plain, row)
    alike = "" if agree == "–" else ", identical" if agree == "identical" else f", {agree} alike"
    points = "" if score.startswith("SQNR") else " points"
    facts = f"{outcome}: p50 {p50} ms, {faster} faster, {score}{points}{alike}"
    console.print(Padding(Text(name, overflow="fold"), (0, 0, 0, 2)))
    console.print(Padding(Text(facts), (0, 0, 0, 4)))


HEADINGS = ("artifact", "p50 ms", "faster", "score (points)", "agree", "")
