"""What a report must keep to, and which of that it breaks."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.compare.bootstrap import Interval


@dataclass(frozen=True)
class Limits:
    """What the later report must keep to; None or False: not asked."""

    max_drop_points: float | None = None
    max_p90_ms: float | None = None
    min_speedup: float | None = None
    min_agreement: float | None = None  # share 0..1
    identical: bool = False  # outputs, bit for bit
    valid: bool = False  # both reports


def break_limits(
    limits: Limits,
    before: Report,
    after: Report,
    *,
    drop_points: float,
    speedup: Interval | Unavailable,
    agreement: float,
    identical: bool,
) -> tuple[str, ...]:
    """One sentence for each limit that ``after`` breaks."""
    broken: list[str] = []
    if limits.max_drop_points is not None and drop_points > limits.max_drop_points:
        accuracy = after.accuracy
        moved = "rose" if accuracy.lower_is_better else "dropped"
        broken.append(
            f"{accuracy.measure} {moved} {drop_points:.2f} points, "
            f"allowed {limits.max_drop_points:g}"
        )
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
    if limits.min_agreement is not None and agreement < limits.min_agreement:
        broken.append(
            f"{agreement:.2%} of samples are answered alike, wanted {limits.min_agreement:.2%}"
        )
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
