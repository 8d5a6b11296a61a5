"""How near the outputs of two reports are to those of their networks, output by output."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeticket.device_runner.fidelity import OutputFidelity, sqnr_of
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable


@dataclass(frozen=True)
class OutputPair:
    """One output before and after, each against the reference outputs of its bundle."""

    name: str
    before: OutputFidelity | Unavailable
    after: OutputFidelity | Unavailable


def pair_outputs(before: Report, after: Report) -> tuple[OutputPair, ...]:
    """The outputs of both in order; none where neither report tells fidelity."""
    told = [report.fidelity for report in (before, after)]
    if all(isinstance(one, Unavailable) for one in told):
        return ()
    count = len(after.artifact.outputs)
    columns: list[list[OutputFidelity | Unavailable]] = []
    for one in told:
        if isinstance(one, Unavailable):
            columns.append([one] * count)
        else:
            columns.append(list(one.outputs))
    if len(columns[0]) != len(columns[1]):
        return ()
    return tuple(
        OutputPair(_name(b, a, i), b, a) for i, (b, a) in enumerate(zip(*columns, strict=True))
    )


def worst_pair(pairs: tuple[OutputPair, ...]) -> OutputPair | None:
    """The output that is furthest from its reference afterwards."""
    if not pairs:
        return None
    return min(
        pairs,
        key=lambda pair: math.inf if isinstance(pair.after, Unavailable) else sqnr_of(pair.after),
    )


def tell_decibels(found: OutputFidelity | Unavailable) -> str:
    """The ratio of signal to noise in a cell of a table."""
    if isinstance(found, Unavailable):
        return "–"
    if isinstance(found.sqnr_db, Unavailable):
        return "exact" if found.largest_error == 0 else "–"
    return f"{found.sqnr_db:.1f} dB"


def tell_further(found: OutputFidelity | Unavailable) -> str:
    """The other figures in a cell of a table."""
    if isinstance(found, Unavailable):
        return ""
    parts = [] if isinstance(found.cosine, Unavailable) else [f"cosine {found.cosine:.5f}"]
    if not isinstance(found.largest_error, Unavailable):
        parts.append(f"largest error {found.largest_error:.3g}")
    if not isinstance(found.equal_share, Unavailable):
        parts.append(f"{found.equal_share:.2%} equal codes")
    return ", ".join(parts)


def _name(before: OutputFidelity | Unavailable, after: OutputFidelity | Unavailable, i: int) -> str:
    for one in (after, before):
        if not isinstance(one, Unavailable):
            return one.name
    return str(i)
