"""Charts of what was measured, and the figures behind them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.charts.drawing import Chart
from edgeticket.pipeline.page.charts.front import Point, draw_front
from edgeticket.pipeline.page.charts.latency import (
    draw_course,
    draw_histogram,
    draw_ranges,
    range_of,
)
from edgeticket.pipeline.page.judged import measure_of, score_of
from edgeticket.pipeline.page.sections.table import RUNTIMES
from edgeticket.pipeline.page.sources import Measured, Sources


@dataclass(frozen=True)
class Trade:
    """What accuracy costs on one machine, in time and in bytes; and what is not drawn."""

    place: str
    charts: tuple[Chart, ...]
    note: str


@dataclass(frozen=True)
class Details:
    """The times of one artifact."""

    one: Measured
    charts: tuple[Chart, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Times:
    """Those of one machine."""

    place: str
    ranges: Chart
    details: tuple[Details, ...]
    note: str


def draw_trades(sources: Sources) -> tuple[Trade, ...]:
    """Charts for each machine on which at least two artifacts have a score."""
    trades = []
    for i, place in enumerate(sources.places):
        measured = sources.on(place)
        scored = [(one, score_of(one.report)) for one in measured]
        kept = [(one, score) for one, score in scored if score is not None]
        if len(kept) < 2:
            continue
        measure = measure_of(kept[0][0].report)
        charts = []
        costs = [("time", "median time, ms"), ("bytes", "size, kB")]
        if any(one.is_emulated for one in measured):
            costs = costs[1:]
        for cost, axis in costs:
            points = [_point(one, score, cost) for one, score in kept]
            charts.append(
                draw_front(
                    points,
                    name=f"front-{i + 1}-{cost}",
                    title=f"{measure.axis} against {axis}, {place}",
                    cost=axis,
                    score=measure.axis,
                    lower_is_better=measure.lower_is_better,
                    caption="",
                )
            )
        left_out = [str(one.number) for one, score in scored if score is None]
        which = ", ".join(left_out)
        note = f"Not drawn, because exact or without a score: {which}." if left_out else ""
        trades.append(Trade(place, tuple(charts), note))
    return tuple(trades)


def draw_times(sources: Sources) -> tuple[Times, ...]:
    """Charts for each machine: all artifacts, then each by itself."""
    times = []
    for i, place in enumerate(sources.places):
        measured = sources.on(place)
        ranges = [
            range_of(f"{one.number}  {words.short(one.name)}", one.report, strong=one.is_int8)
            for one in measured
        ]
        chart = draw_ranges(ranges, name=f"times-{i + 1}", title=f"Times on {place}")
        details = tuple(_details(one) for one in measured)
        emulated = any(one.is_emulated for one in measured)
        note = "This machine is emulated: its times say nothing about a board." if emulated else ""
        times.append(Times(place, chart, details, note))
    return tuple(times)


def _details(one: Measured) -> Details:
    report, latency = one.report, one.report.latency
    charts = (
        draw_histogram(
            report, name=f"histogram-{one.number}", title=f"How often which time: {one.title}"
        ),
        draw_course(report, name=f"course-{one.number}", title=f"Times in order: {one.title}"),
    )
    windows = report.windows.p50_ns
    cold = report.cold
    figures = [
        ("queries", words.count(latency.queries)),
        ("fastest", f"{words.milliseconds(latency.min_ns)} ms"),
        ("mean", f"{words.milliseconds(latency.mean_ns)} ms"),
        ("median (p50)", _ms(latency.p50_ns)),
        ("90 % within (p90)", _ms(latency.p90_ns)),
        ("99 % within (p99)", _ms(latency.p99_ns)),
        (
            "medians of the windows",
            windows.reason
            if isinstance(windows, Unavailable)
            else ", ".join(words.milliseconds(w) for w in windows) + " ms",
        ),
        ("answers per second", f"{report.throughput.per_s:,.0f} ({report.throughput.how})"),
        ("preparing one sample (p50)", _ms(report.preprocessing_ns.p50)),
        ("loading the file, in a fresh process", _ms(cold.load_ns, digits=1)),
        ("first answer after that", _ms(cold.first_inference_ns, digits=1)),
        ("peak memory of that process", _megabytes(cold.peak_rss_bytes)),
    ]
    figures += _scenario(report)
    return Details(one, charts, tuple(figures))


def _scenario(report: Report) -> list[tuple[str, str]]:
    found = []
    if not isinstance(report.deadlines, Unavailable):
        late = report.deadlines
        found.append(
            (
                f"frames too late at {late.rate_hz:g} per second",
                f"{late.missed:,} ({words.percent(late.missed_share)})",
            )
        )
    if not isinstance(report.sustained, Unavailable):
        sustained = report.sustained
        throttled = sustained.throttled_minute
        found += [
            ("steady p90 under sustained load", _ms(sustained.steady_p90_ns)),
            (
                "minute that throttles",
                throttled.reason
                if isinstance(throttled, Unavailable)
                else f"{throttled} of {len(sustained.minutes)}: {sustained.throttled_by}",
            ),
            (
                "p90 minute by minute",
                ", ".join(_ms(minute.p90_ns) for minute in sustained.minutes),
            ),
        ]
    if not isinstance(report.real_time, Unavailable):
        factor = report.real_time.factor
        told = factor.reason if isinstance(factor, Unavailable) else f"{factor:.4f}"
        found.append(("seconds of work per second of speech", told))
    if not isinstance(report.energy, Unavailable):
        for source in report.energy.sources:
            above = source.above_idle_j
            told = f"{1000 * source.per_inference_j:.3g} mJ"
            if not isinstance(above, Unavailable):
                told += f", {1000 * above:.3g} mJ above idle"
            found.append((f"energy for an answer, by {source.source} ({source.scope})", told))
    if not isinstance(report.placement, Unavailable):
        found.append(("ran on", report.placement.words))
    return found


def _ms(value: int | Unavailable, *, digits: int = 3) -> str:
    if isinstance(value, Unavailable):
        return f"unknown: {value.reason}"
    return f"{words.milliseconds(value, digits=digits)} ms"


def _megabytes(value: int | Unavailable) -> str:
    return (
        f"unknown: {value.reason}" if isinstance(value, Unavailable) else f"{value / 1e6:,.1f} MB"
    )


def _point(one: Measured, score: float, cost: str) -> Point:
    report = one.report
    p50 = report.latency.p50_ns
    times = sorted(report.latency.samples_ns)
    median = times[len(times) // 2] if isinstance(p50, Unavailable) else p50
    runtime = RUNTIMES.get(report.runtime.name, report.runtime.name)
    return Point(
        number=one.number,
        name=one.name,
        kind=f"{report.artifact.precision}, {runtime}",
        strong=one.is_int8,
        cost=max(median, 1) / 1e6 if cost == "time" else report.artifact.size_bytes / 1000,
        score=score,
    )
