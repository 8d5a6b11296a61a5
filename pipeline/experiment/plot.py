"""The plot of an experiment: accuracy against the kept share of the weights."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

MARKERS = "osD^vP*X<>"
NEAR_POINTS = 6.0  # top-1 points that the second panel shows

Curve = Sequence[tuple[float, float, float]]
"""(kept share, mean top-1, its standard deviation), shares 0..1."""


def plot_accuracy(
    title: str,
    curves: Mapping[str, Curve],
    flat: Mapping[str, tuple[float, float]],
    *,
    ticks: Sequence[float],
) -> bytes:
    """An SVG file: all of the accuracies, and beside them those near the best of ``flat``.

    Args:
        title: above the plot.
        curves: one for each variant.
        flat: variants without a sparsity, as (mean, deviation): horizontal lines.
        ticks: kept shares to mark on the axis, 0..1.
    """
    # A `Figure` of its own, not pyplot: no window system and no global state.
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
    for axes in panels:
        _draw(axes, curves, flat)
        axes.set_xscale("log")
        axes.set_xticks([100 * share for share in ticks])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.invert_xaxis()
        axes.set_xlabel("kept share of the weights, %")
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("top-1 on test, %")
    if flat:
        best = 100 * max(mean for mean, _ in flat.values())
        panels[1].set_ylim(best - NEAR_POINTS, best + NEAR_POINTS / 8)
    figure.suptitle(title)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small"
    )
    drawing = io.BytesIO()
    # The same numbers give the same bytes: no date, no random names of elements; text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "edgeticket", "svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return drawing.getvalue()


def _draw(axes: Axes, curves: Mapping[str, Curve], flat: Mapping[str, tuple[float, float]]) -> None:
    colors = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, (name, (mean, deviation)) in enumerate(flat.items()):
        axes.axhline(100 * mean, color="black", linestyle=("--", ":", "-.")[i % 3], label=name)
        low, high = 100 * (mean - deviation), 100 * (mean + deviation)
        axes.axhspan(low, high, color="black", alpha=0.1, lw=0)
    for i, (name, curve) in enumerate(curves.items()):
        kept, means, deviations = zip(*curve, strict=True)
        axes.errorbar(
            [100 * share for share in kept],
            [100 * mean for mean in means],
            yerr=[100 * deviation for deviation in deviations],
            label=name,
            color=colors[i % len(colors)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle="-" if i < len(colors) else "--",
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
