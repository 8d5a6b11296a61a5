"""New runs against past ones: a gate that knows how much runs differ when nothing has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import read_report
from edgeticket.device_runner.strict_json import to_json
from edgeticket.pipeline.history.noise import FEWEST_RUNS, LONGEST, rise_bound
from edgeticket.pipeline.history.series import History, Run, series_of
from edgeticket.pipeline.text import plain


@dataclass(frozen=True)
class Verdict:
    """One artifact on one board. change: of p90 as a share, of the score in its unit, worse is
    positive; bound: what chance explains; None: not judged, and ``note`` says why."""

    artifact: str
    board: str
    quantity: str
    past: int  # runs
    new: int
    before: float | None
    after: float | None
    change: float | None
    bound: float | None
    note: str

    @property
    def outcome(self) -> str:
        """ok, worse, not judged."""
        if self.change is None or self.bound is None:
            return "not judged"
        return "worse" if self.change > self.bound else "ok"


@dataclass(frozen=True)
class HistoryGate:
    """All verdicts of one call."""

    verdicts: tuple[Verdict, ...]

    @property
    def exit_code(self) -> int:
        """0: nothing got worse; 1: something did. What has too few runs is said, and passes."""
        return 1 if any(v.outcome == "worse" for v in self.verdicts) else 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with each outcome."""
        return {
            "verdicts": [to_json(v) | {"outcome": v.outcome} for v in self.verdicts],
            "exit_code": self.exit_code,
        }


def judge_new(history: History, new: Sequence[Path]) -> HistoryGate:
    """Judge new reports; several of one artifact and board count together, by their mean.

    Args:
        history: past runs; new ones that are among them are left out of the past.
        new: reports, and folders of them.

    Raises:
        InputError: a new report cannot be read, or there is none.
    """
    files = [f for path in new for f in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"there is no report to judge in {', '.join(map(str, new))}")
    past = {series.key: series for series in history.series}
    verdicts: list[Verdict] = []
    for series in series_of([(file, read_report(file)) for file in files]):
        sessions = {run.session for run in series.runs}
        known = past[series.key].runs if series.key in past else ()
        old = [run for run in known if run.session not in sessions]
        verdicts += [
            _judge(series.artifact, series.board, quantity, old, series.runs, lower=lower)
            for quantity, lower in (("p90 ms", True), (series.measure, series.lower_is_better))
        ]
    return HistoryGate(tuple(verdicts))


def _judge(
    artifact: str, board: str, quantity: str, old: Sequence[Run], new: Sequence[Run], *, lower: bool
) -> Verdict:
    name = "p90_ms" if quantity == "p90 ms" else "score"
    past, fresh = (
        [float(v) for r in runs if r.valid and isinstance(v := getattr(r, name), int | float)]
        for runs in (old, new)
    )
    past = past[-LONGEST:]
    empty = (len(past), len(fresh), None, None, None, None)
    if not fresh:
        told = next((str(getattr(r, name)) for r in new if r.valid), "the new runs are INVALID")
        return Verdict(artifact, board, quantity, *empty, told)
    if len(past) < FEWEST_RUNS:
        told = f"{len(past)} VALID runs are known, {FEWEST_RUNS} are needed"
        return Verdict(artifact, board, quantity, *empty, told)
    return judge_values(artifact, board, quantity, past, fresh, lower=lower)


def judge_values(
    artifact: str,
    board: str,
    quantity: str,
    past: Sequence[float],
    fresh: Sequence[float],
    *,
    lower: bool,
) -> Verdict:
    """The judgement itself; times are compared as ratios, scores as differences."""
    ratios = quantity == "p90 ms"
    sign = 1.0 if lower else -1.0
    old, new = ([sign * (math.log(v) if ratios else v) for v in vs] for vs in (past, fresh))
    before, after = sum(old) / len(old), sum(new) / len(new)
    bound = rise_bound(old, len(new))
    change = after - before
    # What is the same number every time may differ in its last bits, and no more.
    bound = max(bound, 1e-9)
    if ratios:
        ends = math.exp(before), math.exp(after)
        change, bound = math.expm1(change), math.expm1(bound)
    else:
        ends = sign * before, sign * after
    return Verdict(
        artifact, board, quantity, len(past), len(fresh), *ends, change, bound, ""
    )  # fmt: skip


HEADINGS = (
    "artifact",
    "board",
    "quantity",
    "before",
    "now",
    "change",
    "chance explains",
    "outcome",
)


def cells(verdict: Verdict) -> tuple[str, ...]:
    """A verdict's line, as in ``HEADINGS``."""
    names = verdict.artifact, verdict.board, verdict.quantity
    if verdict.change is None or verdict.bound is None:
        return (*names, "", "", "", "", f"{verdict.outcome}: {verdict.note}")
    pattern = "{:+.1%}" if verdict.quantity == "p90 ms" else "{:+.4g}"
    sign = -1.0 if verdict.before is not None and verdict.after is not None and (
        (verdict.after < verdict.before) != (verdict.change < 0)
    ) else 1.0  # fmt: skip
    return (
        *names,
        f"{verdict.before:.4g}",
        f"{verdict.after:.4g}",
        pattern.format(sign * verdict.change),
        pattern.format(sign * verdict.bound),
        verdict.outcome,
    )


def to_markdown(gate: HistoryGate) -> str:
    """The table for a comment; names are text."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, gate.verdicts)]
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _escaped(text: str) -> str:
    for sign in "\\&<>`*_{}[]|":
        if text != "---":
            text = text.replace(sign, f"\\{sign}" if sign not in "<>&" else f"&#{ord(sign)};")
    return plain(text)


def is_markdown(data: bytes) -> bool:
    """Whether ``data`` is such a table, so that a newer one may take its place."""
    return data.decode(errors="replace").startswith("| " + " | ".join(HEADINGS) + " |")
