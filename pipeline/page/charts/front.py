"""Accuracy against latency and against bytes, and which artifacts no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from edgeticket.pipeline.page.charts.drawing import Chart, draw, log_steps, new_figure, styled
from edgeticket.pipeline.page.palette import LIGHT

WIDTH, HEIGHT = 4.6, 3.1
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Point:
    """One artifact: ``cost`` is in ms or kB, ``score`` as the axis shows it."""

    number: int
    name: str
    kind: str  # of a legend's entry
    strong: bool  # int8: filled
    cost: float
    score: float


def front_of(points: Sequence[Point], *, lower_is_better: bool = False) -> list[Point]:
    """Those that no other beats in cost and score at once, cheapest first."""
    sign = -1 if lower_is_better else 1
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -sign * p.score)):
        if not front or sign * point.score > sign * front[-1].score:
            front.append(point)
    return front


@styled
def draw_front(
    points: Sequence[Point],
    *,
    name: str,
    title: str,
    cost: str,
    score: str,
    lower_is_better: bool,
    caption: str,
) -> Chart:
    """Cost along, score up (down where lower is better): the best corner is the upper left one."""
    figure, axes = new_figure(WIDTH, HEIGHT)
    front = front_of(points, lower_is_better=lower_is_better)
    if len(front) > 1:
        axes.plot(
            [p.cost for p in front], [p.score for p in front],
            color=LIGHT["accent"], linewidth=1.2, linestyle=(0, (4, 2)), zorder=2,
        )  # fmt: skip
    kinds = list(dict.fromkeys(point.kind for point in points))
    for i, kind in enumerate(kinds):
        of_kind = [point for point in points if point.kind == kind]
        colour = LIGHT["accent"] if of_kind[0].strong else LIGHT["quiet"]
        axes.plot(
            [p.cost for p in of_kind], [p.score for p in of_kind], label=kind,
            linestyle="none", marker=MARKERS[i % len(MARKERS)], markersize=7, color=colour,
            markerfacecolor=colour if of_kind[0].strong else LIGHT["paper"],
            markeredgewidth=1.4, zorder=3,
        )  # fmt: skip
    _scale(axes, points, lower_is_better=lower_is_better)
    _number(axes, points)
    axes.set_xlabel(cost)
    axes.set_ylabel(score)
    figure.legend(loc="outside upper left", ncols=2, borderpad=0.1, handletextpad=0.2)
    best = ", ".join(f"{p.number} ({p.name})" for p in front)
    says = f"{len(points)} artifacts by {cost} and {score}. No other beats: {best}."
    return draw(figure, name=name, title=title, says=says, caption=caption)


def _scale(axes: Axes, points: Sequence[Point], *, lower_is_better: bool) -> None:
    costs, scores = [p.cost for p in points], [p.score for p in points]
    if max(costs) > 3 * min(costs):
        axes.set_xscale("log")
        axes.set_xticks(log_steps(min(costs) / 1.4, max(costs) * 1.4))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(costs) / 1.4, max(costs) * 1.4)
    else:
        axes.set_xlim(0, max(costs) * 1.15)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    room = max(max(scores) - min(scores), 0.2) * 0.2
    axes.set_ylim(min(scores) - room, max(scores) + room)
    if lower_is_better:
        axes.invert_yaxis()


def _number(axes: Axes, points: Sequence[Point]) -> None:
    """The artifacts' numbers beside their marks; marks at one place share one label."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    groups: list[list[Point]] = []
    is_log = axes.get_xscale() == "log"

    def along(point: Point) -> float:
        if is_log:
            return math.log(point.cost / left) / math.log(right / left)
        return (point.cost - left) / (right - left)

    for point in sorted(points, key=lambda p: p.number):
        for group in groups:
            first = group[0]
            near_x = abs(along(point) - along(first)) < 0.045
            near_y = abs(point.score - first.score) / abs(top - bottom) < 0.06
            if near_x and near_y:
                group.append(point)
                break
        else:
            groups.append([point])
    for group in groups:
        axes.annotate(
            ", ".join(str(p.number) for p in group), (group[0].cost, group[0].score),
            xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9,
            color=LIGHT["ink"], zorder=4,
        )  # fmt: skip
