"""How long answers took: all artifacts side by side, and each by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from edgeticket.device_runner.report import Report
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page.charts.drawing import Chart, draw, log_steps, new_figure, styled
from edgeticket.pipeline.page.palette import LIGHT

BINS = 48
BUCKETS = 120  # points of a line over time
SHOWN_SHARE = 0.995  # of the queries at most: the rest would squeeze the histogram
BULK = 5  # distances from p10 to p90 that it reaches beyond the median


@dataclass(frozen=True)
class Range:
    """One artifact's times in ms."""

    label: str
    strong: bool
    lowest: float
    p50: float
    p90: float
    p99: float


def range_of(label: str, report: Report, *, strong: bool) -> Range:
    """Nearest-rank percentiles of all timed queries, even where too few support one."""
    times = np.sort(_milliseconds(report))
    low, p50, p90, p99 = (float(times[int(len(times) * share)]) for share in (0, 0.5, 0.9, 0.99))
    return Range(label, strong, low, p50, p90, p99)


@styled
def draw_ranges(ranges: Sequence[Range], *, name: str, title: str) -> Chart:
    """A line for each artifact, from its fastest query to p99, with p50 and p90 marked."""
    figure, axes = new_figure(5.2, 0.75 + 0.3 * len(ranges))
    axes.grid(visible=False, axis="y")
    for i, one in enumerate(ranges):
        colour = LIGHT["accent"] if one.strong else LIGHT["quiet"]
        axes.plot([one.lowest, one.p99], [i, i], color=colour, linewidth=1.6, zorder=2)
        axes.plot(
            one.p50, i, marker="o", color=colour, markersize=8, linestyle="none", zorder=3,
            label="median (p50)" if i == 0 else None,
        )  # fmt: skip
        axes.plot(
            one.p90, i, marker="|", color=colour, markersize=11, markeredgewidth=2,
            linestyle="none", zorder=3, label="90 % within (p90)" if i == 0 else None,
        )  # fmt: skip
        axes.annotate(
            f"{one.p50:#.3g}".rstrip("."), (one.p50, i), xytext=(0, 5.5),
            textcoords="offset points", ha="center", fontsize=8, color=LIGHT["muted"],
        )  # fmt: skip
    axes.set_yticks(range(len(ranges)), [one.label for one in ranges])
    axes.tick_params(axis="y", length=0, labelcolor=LIGHT["ink"])
    axes.set_ylim(len(ranges) - 0.5, -0.7)
    low, high = min(one.lowest for one in ranges), max(one.p99 for one in ranges)
    if high > 5 * low > 0:
        axes.set_xscale("log")
        axes.set_xticks(log_steps(low / 1.7, high * 1.25))
        axes.set_xlim(low / 1.7, high * 1.25)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, high * 1.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel("time for one answer, ms")
    says = "; ".join(
        f"{one.label}: median {one.p50:.3g} ms, 90 % within {one.p90:.3g} ms, 99 % within "
        f"{one.p99:.3g} ms" for one in ranges
    )  # fmt: skip
    caption = "Line: from the fastest answer to p99. Dot: median. Bar: p90."
    return draw(figure, name=name, title=title, says=f"{says}.", caption=caption)


@styled
def draw_histogram(report: Report, *, name: str, title: str) -> Chart:
    """How often which time was seen."""
    times = _milliseconds(report)
    ordered = np.sort(times)
    end = _end_of_bulk(ordered)
    shown = times[times <= end]
    figure, axes = new_figure(3.9, 2.3, margins=(0.62, 0.5))
    axes.grid(visible=False, axis="x")
    start = float(ordered[0])
    if end <= start:
        end = start * 1.01 + 1e-6
    counts, edges = np.histogram(shown, bins=BINS, range=(start, end))
    axes.stairs(100 * counts / len(times), edges, fill=True, color=LIGHT["accent"], alpha=0.3)
    axes.stairs(100 * counts / len(times), edges, color=LIGHT["accent"], linewidth=1)
    top = 100 * float(counts.max()) / len(times)
    marks = {label: value for label, value in _percentiles(report).items() if value <= end}
    for row, (label, value) in enumerate(marks.items()):
        axes.axvline(value, color=LIGHT["ink"], linewidth=0.9, linestyle=(0, (3, 2)))
        axes.annotate(
            label, (value, top * (1.3 - 0.13 * row)), xytext=(3, 0), textcoords="offset points",
            fontsize=8, va="center", color=LIGHT["ink"],
        )  # fmt: skip
    axes.set_ylim(0, top * 1.4)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel("time for one answer, ms")
    axes.set_ylabel("queries, %")
    beyond = len(times) - len(shown)
    tail = f"{beyond:,} of {len(times):,} queries took longer, up to {ordered[-1]:.3g} ms"
    told = ", ".join(f"{k} {v:.3g} ms" for k, v in _percentiles(report).items())
    says = f"{len(times):,} queries from {start:.3g} ms: {told}. {tail}."
    return draw(figure, name=name, title=title, says=says, caption=f"Not shown: {tail}.")


@styled
def draw_course(report: Report, *, name: str, title: str) -> Chart:
    """Times in the order in which they were taken, and the median of each window."""
    times = _milliseconds(report)
    figure, axes = new_figure(3.9, 2.3, margins=(0.62, 0.5))
    edges = np.linspace(0, len(times), min(BUCKETS, len(times)) + 1).astype(int)
    parts = [times[a:b] for a, b in itertools.pairwise(edges)]
    middle = (edges[:-1] + edges[1:]) / 2
    low, mid, high = (
        np.array([np.quantile(part, share) for part in parts]) for share in (0.1, 0.5, 0.9)
    )
    axes.fill_between(middle, low, high, color=LIGHT["accent"], alpha=0.25, linewidth=0)
    axes.plot(middle, mid, color=LIGHT["accent"], linewidth=1)
    windows = report.windows.p50_ns
    if not isinstance(windows, Unavailable):
        size = len(times) // len(windows)
        for i, median in enumerate(windows):
            axes.plot(
                [i * size, (i + 1) * size], [median / 1e6] * 2, color=LIGHT["ink"], linewidth=1.6
            )
    bottom = min(0.0, 0.9 * float(low.min()))
    axes.set_ylim(bottom, 1.25 * max(float(np.quantile(high, 0.98)), float(mid.max())))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("query, in order")
    axes.set_ylabel("ms")
    drift, spread = report.windows.drift, report.windows.spread
    told = (
        "too few queries to tell drift"
        if isinstance(drift, Unavailable) or isinstance(spread, Unavailable)
        else f"from first to last window {signed(drift)}, "
        f"windows apart by {100 * spread:.1f} % at most"
    )
    caption = f"Band: 10 % to 90 %. Thick lines: medians of {report.windows.count} windows; {told}."
    return draw(figure, name=name, title=title, says=caption, caption=caption)


def _end_of_bulk(ordered: npt.NDArray[np.float64]) -> float:
    """Where a histogram may end: a few queries that were interrupted would squeeze all others."""
    p10, p50, p90, last = (
        float(ordered[int(len(ordered) * q)]) for q in (0.1, 0.5, 0.9, SHOWN_SHARE)
    )
    return min(last, p50 + BULK * max(p90 - p10, 0.05 * p50))


def _percentiles(report: Report) -> dict[str, float]:
    latency = report.latency
    known = {"p50": latency.p50_ns, "p90": latency.p90_ns, "p99": latency.p99_ns}
    return {k: v / 1e6 for k, v in known.items() if not isinstance(v, Unavailable)}


def signed(share: float) -> str:
    """A share in percent with its sign, none where it is 0."""
    value = round(100 * share, 1)
    return "0.0 %" if value == 0 else f"{value:+.1f} %".replace("-", "−")


def _milliseconds(report: Report) -> npt.NDArray[np.float64]:
    return np.asarray(report.latency.samples_ns, dtype=np.float64) / 1e6
