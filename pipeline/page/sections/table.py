"""The table of all artifacts, with what each lost and won."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.judged import (
    agreement,
    measure_of,
    metrics_of,
    tell_change,
    tell_score,
)
from edgeticket.pipeline.page.sources import Measured, Sources

RUNTIMES = {"ort": "ONNX Runtime", "tflite": "LiteRT"}


@dataclass(frozen=True)
class Column:
    """A heading with its unit, and what it means in a sentence."""

    heading: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """One artifact on one machine."""

    one: Measured
    runtime: str
    precision: str
    is_valid: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Metrics:
    """All metrics of a task: a column each, a row for each artifact."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Measured, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Table:
    """``groups``: machine -> rows."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]


def make_table(sources: Sources) -> Table:
    """One row for each report; columns that none has anything for are left out."""
    rows = [(one, _cells(one, sources)) for one in sources.measured]
    columns = _columns(sources)
    kept = [i for i in range(len(columns)) if any(cells[i] != words.NONE for _, cells in rows)]
    made = {
        one: Row(
            one=one,
            runtime=RUNTIMES.get(one.report.runtime.name, one.report.runtime.name),
            precision=one.report.artifact.precision,
            is_valid=one.report.validity.verdict == "VALID",
            cells=tuple(cells[i] for i in kept),
        )
        for one, cells in rows
    }
    return Table(
        columns=tuple(columns[i] for i in kept),
        groups=tuple(
            (place, tuple(made[one] for one in sources.on(place))) for place in sources.places
        ),
    )


def tell_metrics(sources: Sources) -> Metrics | None:
    """Of a task with more metrics than the one in the table; None: there are no more."""
    told = [(one, metrics_of(one.report)) for one in sources.measured]
    first = [metric for metric, _ in told[0][1]]
    same = [(one, pairs) for one, pairs in told if [metric for metric, _ in pairs] == first]
    if len(first) < 2:
        return None
    return Metrics(
        tuple(Column(m.name, f"{m.direction} is better", m.meaning) for m in first),
        tuple((one, tuple(cell for _, cell in pairs)) for one, pairs in same),
    )


def _columns(sources: Sources) -> list[Column]:
    measure = measure_of(sources.measured[0].report)
    unit = "points" if measure.unit == "%" else measure.unit
    return [
        Column("Size", "kB", "bytes of the model file / 1,000"),
        Column("Weights", "thousand", "numbers that the network has learned"),
        Column("Work", "million MACs", "multiply-accumulates for one answer"),
        Column(measure.heading, measure.unit, measure.meaning),
        Column("Change", unit, "of the score, against dense float32 on the same runtime"),
        Column("Same answer", "%", "share of samples with the answer that dense float32 gives"),
        Column("Median time", "ms", "half of all answers came within it (p50)"),
        Column("90 % within", "ms", "nine of ten answers came within it (p90)"),
        Column("Smaller", "times", "bytes of dense float32 on the same runtime / its own"),
        Column("Faster", "times", "median time of dense float32 on the same runtime / its own"),
    ]


def _cells(one: Measured, sources: Sources) -> list[str]:
    report, base = one.report, sources.baseline_of(one)
    network = None
    if sources.manifest is not None:
        network = sources.manifest.networks.get(report.artifact.network)
    p50, p90 = report.latency.p50_ns, report.latency.p90_ns
    return [
        words.kilobytes(report.artifact.size_bytes),
        words.thousands(network.parameters if network else None),
        words.millions(network.macs if network else None),
        tell_score(report),
        words.NONE if base is None else tell_change(report, base.report),
        words.NONE if base is None else _bare(words.percent(agreement(report, base.report))),
        words.milliseconds(p50),
        words.milliseconds(p90),
        _ratio(None if base is None else size_ratio(report, base.report), digits=1),
        _ratio(None if base is None else speedup(one, base), digits=2),
    ]


def _ratio(ratio: float | None, *, digits: int) -> str:
    return words.times(ratio, digits=digits).removesuffix("×")


def _bare(percent: str) -> str:
    return percent.removesuffix(" %")


def size_ratio(report: Report, base: Report) -> float:
    """How many times smaller the file is than the baseline's."""
    return base.artifact.size_bytes / report.artifact.size_bytes


def speedup(one: Measured, base: Measured) -> float | None:
    """How many times shorter the median is; None: it cannot be told, or an emulator's times."""
    ours, theirs = one.report.latency.p50_ns, base.report.latency.p50_ns
    if one.is_emulated or isinstance(ours, Unavailable) or isinstance(theirs, Unavailable):
        return None
    return theirs / max(ours, 1)
