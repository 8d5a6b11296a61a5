"""The time of one artifact on one board, run by run."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgeticket.pipeline.history.story import Story
from edgeticket.pipeline.history.table import tell_time
from edgeticket.pipeline.page.charts.drawing import Chart, draw, new_figure, styled
from edgeticket.pipeline.page.palette import LIGHT


@styled
def draw_history(story: Story, *, name: str) -> Chart:
    """p90 of each run; hollow where a run is INVALID; lines where the level changes."""
    runs = story.series.runs
    figure, axes = new_figure(7.6, 2.4, margins=(0.7, 0.5))
    known = [(i, run.p90_ms, run.is_valid) for i, run in enumerate(runs) if run.p90_ms is not None]
    valid = [(i, value) for i, value, is_valid in known if is_valid]
    other = [(i, value) for i, value, is_valid in known if not is_valid]
    if valid:
        numbers, values = zip(*valid, strict=True)
        axes.plot(numbers, values, color=LIGHT["accent"], linewidth=1, marker="o", markersize=4.5)
    if other:
        numbers, values = zip(*other, strict=True)
        axes.plot(
            numbers, values, linestyle="none", marker="o", markersize=4.5,
            markerfacecolor="none", markeredgecolor=LIGHT["quiet"],
        )  # fmt: skip
    for change in story.times:
        colour = LIGHT["bad"] if change.share > 0 else LIGHT["good"]
        axes.axvline(change.at - 0.5, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            f"{change.share:+.1%}".replace("-", "−"), (change.at - 0.5, 0.97),
            xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points",
            fontsize=8.5, va="top", color=colour,
        )  # fmt: skip
    for other_answers in story.answers:
        axes.axvline(other_answers.at - 0.5, color=LIGHT["other"], linewidth=1, linestyle=":")
    heights = np.array([value for _, value, _ in known])
    room = max(float(np.ptp(heights)), 0.05 * float(heights.max()))
    axes.set_ylim(max(0.0, float(heights.min()) - 0.35 * room), float(heights.max()) + 0.5 * room)
    axes.set_xlim(-0.7, len(runs) - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda at, _: runs[int(at)].started_utc[:10] if 0 <= at < len(runs) else "")
    )
    axes.set_ylabel("p90, ms")
    told = "; ".join(map(tell_time, story.times)) or "no change of time stands out"
    says = f"{len(runs)} runs from {runs[0].started_utc} to {runs[-1].started_utc}: {told}."
    caption = (
        "A mark for each run, in order; hollow: INVALID. Dashed: p90 changed by more than chance "
        "explains. Dotted: answers changed."
    )
    return draw(figure, name=name, title=f"p90 of {story.series.title}", says=says, caption=caption)
