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
NEAR_POINTS = 6.0  # points of a share that the second panel shows
NEAR = 0.25  # of other scores, by the best one

Curve = Sequence[tuple[float, float, float]]
"""(kept share, mean score, its standard deviation), shares 0..1."""


def plot_accuracy(
    title: str,
    curves: Mapping[str, Curve],
    flat: Mapping[str, tuple[float, float]],
    *,
    ticks: Sequence[float],
    measure: str = "top-1",
    unit: str = "share",
    lower_is_better: bool = False,
) -> bytes:
    """An SVG file: all of the accuracies, and beside them those near the best of ``flat``.

    Args:
        title: above the plot.
        curves: one for each variant.
        flat: variants without a sparsity, as (mean, deviation): horizontal lines.
        ticks: kept shares to mark on the axis, 0..1.
        measure, unit, lower_is_better: of the scores.
    """
    # A `Figure` of its own, not pyplot: no window system and no global state.
    scale = 100.0 if unit == "share" else 1.0
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
    for axes in panels:
        _draw(axes, curves, flat, scale)
        axes.set_xscale("log")
        axes.set_xticks([100 * share for share in ticks])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.invert_xaxis()
        axes.set_xlabel("kept share of the weights, %")
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel(f"{measure} on test" + ", %" * (unit == "share"))
    if flat:
        choose, side = (min, -1) if lower_is_better else (max, 1)
        best = scale * choose(mean for mean, _ in flat.values())
        near = NEAR_POINTS if unit == "share" else max(NEAR * abs(best), 1e-12)
        panels[1].set_ylim(*sorted((best - side * near, best + side * near / 8)))
    figure.suptitle(title)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small"
    )
    drawing = io.BytesIO()
    # The same numbers give the same bytes: no date, no random names of elements; text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "edgeticket", "svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return drawing.getvalue()


def _draw(
    axes: Axes,
    curves: Mapping[str, Curve],
    flat: Mapping[str, tuple[float, float]],
    scale: float,
) -> None:
    colors = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, (name, (mean, deviation)) in enumerate(flat.items()):
        axes.axhline(scale * mean, color="black", linestyle=("--", ":", "-.")[i % 3], label=name)
        low, high = scale * (mean - deviation), scale * (mean + deviation)
        axes.axhspan(low, high, color="black", alpha=0.1, lw=0)
    for i, (name, curve) in enumerate(curves.items()):
        kept, means, deviations = zip(*curve, strict=True)
        axes.errorbar(
            [100 * share for share in kept],
            [scale * mean for mean in means],
            yerr=[scale * deviation for deviation in deviations],
            label=name,
            color=colors[i % len(colors)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle="-" if i < len(colors) else "--",
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
