"""What a report must keep to, and which of that it breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import Fidelity, sqnr_of
from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.compare.bootstrap import Interval
from edgeticket.pipeline.compare.fidelity import tell_decibels


@dataclass(frozen=True)
class Limits:
    """What the later report must keep to; None or False: not asked."""

    max_drop_points: float | None = None  # of shares in percentage points, else in the unit
    max_drop_relative: float | None = None  # of the score before, 0..1
    max_p90_ms: float | None = None
    min_speedup: float | None = None
    min_agreement: float | None = None  # share 0..1
    min_sqnr_db: float | None = None  # of every output, against its reference
    identical: bool = False  # outputs, bit for bit
    valid: bool = False  # both reports


def _too_far(fidelity: Fidelity | Unavailable, least_db: float) -> list[str]:
    if isinstance(fidelity, Unavailable):
        return [f"SQNR is unknown ({fidelity.reason}), wanted {least_db:g} dB"]
    broken = [
        f"SQNR of the output {output.name} is {tell_decibels(output)}, wanted {least_db:g} dB"
        for output in fidelity.outputs
        if sqnr_of(output) < least_db
    ]
    # These positions are left out of the ratio, which may be as good as ever without them.
    return broken + [
        f"the output {output.name} is not finite at {output.not_finite} positions"
        for output in fidelity.outputs
        if output.not_finite
    ]


def parse_drop(text: str, *, place: str) -> dict[str, float]:
    """``0.5`` or ``1%`` -> the field of `Limits` that it is.

    Raises:
        InputError: it is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if rest or not math.isfinite(value):
        raise InputError(
            f"{place} {text}: write 0.5 for percentage points (or dB, or the unit of the metric), "
            "or 1% for a part of the score before"
        )
    return {"max_drop_relative": value / 100} if percent else {"max_drop_points": value}


def _in(value: float, unit: str) -> str:
    return f"{value:.4g}" + {"dB": " dB", "pixels": " px"}.get(unit, "")


def break_limits(
    limits: Limits,
    before: Report,
    after: Report,
    *,
    drop_points: Interval | Unavailable,
    drop_relative: float | Unavailable,
    unit: str,
    speedup: Interval | Unavailable,
    agreement: float | Unavailable,
    identical: bool,
) -> tuple[str, ...]:
    """One sentence for each limit that ``after`` breaks."""
    broken: list[str] = []
    moved = f"{after.accuracy.measure} {'rose' if after.accuracy.lower_is_better else 'dropped'}"
    most = limits.max_drop_points
    if most is not None and isinstance(drop_points, Interval) and drop_points.value > most:
        told = (
            f"{drop_points.value:.2f} points" if unit == "share" else _in(drop_points.value, unit)
        )
        broken.append(f"{moved} {told}, allowed {most:g}")
    share = limits.max_drop_relative
    if share is not None and isinstance(drop_relative, float) and drop_relative > share:
        broken.append(f"{moved} {drop_relative:.2%} of what it was, allowed {share:.2%}")
    if limits.max_p90_ms is not None:
        p90_ns = after.latency.p90_ns
        if isinstance(p90_ns, Unavailable):
            broken.append(f"p90 is unknown ({p90_ns.reason}), allowed {limits.max_p90_ms:g} ms")
        elif p90_ns / 1e6 > limits.max_p90_ms:
            broken.append(f"p90 is {p90_ns / 1e6:.3f} ms, allowed {limits.max_p90_ms:g} ms")
    if limits.min_speedup is not None:
        if isinstance(speedup, Unavailable):
            broken.append(f"p50 is unknown ({speedup.reason}), wanted {limits.min_speedup:g} times")
        elif speedup.value < limits.min_speedup:
            broken.append(f"p50 is {speedup.value:.2f} times lower, wanted {limits.min_speedup:g}")
    wanted = limits.min_agreement
    if wanted is not None and not isinstance(agreement, Unavailable) and agreement < wanted:
        broken.append(f"{agreement:.2%} of samples are answered alike, wanted {wanted:.2%}")
    if limits.min_sqnr_db is not None:
        broken += _too_far(after.fidelity, limits.min_sqnr_db)
    if limits.identical and not identical:
        broken.append("outputs are not identical")
    if limits.valid:
        broken += [
            f"{when} is {report.validity.verdict}: "
            + "; ".join(finding.found for finding in report.validity.reasons)
            for when, report in (("before", before), ("after", after))
            if report.validity.verdict != VALID
        ]
    return tuple(broken)
