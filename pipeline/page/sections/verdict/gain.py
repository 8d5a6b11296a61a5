"""What was won, and what did it cost?"""

from __future__ import annotations

from edgeticket.device_runner.report import Unlabelled
from edgeticket.device_runner.validity import INVALID
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.judged import measure_of, score_of, tell_whole
from edgeticket.pipeline.page.sections.table import RUNTIMES, size_ratio, speedup
from edgeticket.pipeline.page.sections.verdict.statement import GOOD, OPEN, Statement
from edgeticket.pipeline.page.sources import Sources


def tell_gain(sources: Sources) -> Statement | None:
    """The artifact that is spoken of first, against dense float32 on the same runtime."""
    one = sources.featured
    base = sources.baseline_of(one)
    report = one.report
    if base is None or base is one:
        return None
    smaller = size_ratio(report, base.report)
    parts = [
        f"{words.times(smaller if smaller >= 1 else 1 / smaller, digits=1)} "
        f"{'smaller' if smaller >= 1 else 'larger'}"
    ]
    ratio = speedup(one, base)
    if ratio is not None:
        told = words.times(max(ratio, 1 / ratio), digits=1)
        direction = "faster" if ratio >= 1 else "slower"
        parts.append("as fast" if told == "1.0×" else f"{told} {direction}")
    runtime = RUNTIMES.get(report.runtime.name, report.runtime.name)
    details = [
        f"{one.title}, against {base.name} on the same runtime ({runtime}): "
        f"{words.kilobytes(base.report.artifact.size_bytes)} → "
        f"{words.kilobytes(report.artifact.size_bytes)} kB"
    ]
    if ratio is not None:
        details[0] += (
            f", median {words.milliseconds(base.report.latency.p50_ns)} → "
            f"{words.milliseconds(report.latency.p50_ns)} ms"
        )
    details[0] += "."
    if isinstance(report.accuracy, Unlabelled):
        parts.append(f"outputs within {tell_whole(report)} of float32")
    elif score_of(report) is not None and score_of(base.report) is not None:
        name = measure_of(report).axis.rpartition(",")[0] or measure_of(report).heading
        parts.append(f"{name} {tell_whole(base.report)} → {tell_whole(report)}")
    won = smaller > 1 and (ratio is None or ratio > 0.95)
    if ratio is not None and INVALID in (report.validity.verdict, base.report.validity.verdict):
        won = False
        details.append("Measured with times that are INVALID: the ratio of times may be wrong.")
    return Statement(
        "What was won, and what did it cost?",
        GOOD if won else OPEN,
        words.listed(parts) + ".",
        tuple(details),
    )
