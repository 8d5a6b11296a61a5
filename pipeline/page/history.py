"""The page of a history: a chart of p90 and score over the runs of each series, and its table."""

from __future__ import annotations

from pathlib import Path

from edgeticket.device_runner import __version__
from edgeticket.pipeline.history.series import History, Series
from edgeticket.pipeline.history.table import row, tell_change
from edgeticket.pipeline.output_folder import write_output
from edgeticket.pipeline.page.charts.drawing import Chart, draw, new_figure, styled
from edgeticket.pipeline.page.file import GENERATOR, is_page
from edgeticket.pipeline.page.palette import LIGHT
from edgeticket.pipeline.page.render import open_templates, style_of_page

RUN_HEADINGS = ("run", "runtime", "verdict", "p90 ms", "score")


def render_history(history: History) -> bytes:
    """The page as UTF-8; the same history gives the same bytes."""
    style, digest = style_of_page()
    parts = [
        {
            "id": f"series-{i}",
            "title": row(series)[0],
            "changes": [tell_change(series, change) for change in series.changes],
            "charts": [
                chart
                for name, title in (("p90_ms", "p90 ms"), ("score", series.measure))
                if (chart := _chart(series, name, title, f"chart-{i}-{name.partition('_')[0]}"))
            ],
            "runs": [
                (
                    run.started_utc,
                    run.runtime,
                    "VALID" if run.valid else "INVALID",
                    *(
                        f"{v:.4g}" if isinstance(v, int | float) else "–"
                        for v in (run.p90_ms, run.score)
                    ),
                )
                for run in series.runs
            ],
        }
        for i, series in enumerate(history.series)
    ]
    page = open_templates().get_template("history.html").render(
        parts=parts,
        passed_over=history.passed_over,
        headings=RUN_HEADINGS,
        style=style,
        style_hash=digest,
        generator=GENERATOR,
        version=__version__,
    )  # fmt: skip
    return page.encode()


def write_history(history: History, file: Path) -> None:
    """Write the page; an older page gives way.

    Raises:
        InputError: another file is there, or it cannot be written.
    """
    write_output(file, render_history(history), ours=is_page)


@styled
def _chart(series: Series, name: str, title: str, identifier: str) -> Chart | None:
    """A dot for each run; INVALID ones are crosses; a line where the runtime became another."""
    points = [
        (i, float(value), run.valid)
        for i, run in enumerate(series.runs)
        if isinstance(value := getattr(run, name), int | float)
    ]
    if not points:
        return None
    figure, axes = new_figure(5.2, 1.9)
    for valid, marker, colour in ((True, "o", LIGHT["accent"]), (False, "x", LIGHT["quiet"])):
        some = [(i, value) for i, value, is_valid in points if is_valid == valid]
        if some:
            axes.plot(*zip(*some, strict=True), marker=marker, color=colour, linestyle="none")
    others = [
        i
        for i in range(1, len(series.runs))
        if series.runs[i].runtime != series.runs[i - 1].runtime
    ]
    for i in others:
        axes.axvline(i - 0.5, color=LIGHT["quiet"], linewidth=1)
    axes.set_xlabel("run")
    axes.set_ylabel(title)
    values = [value for _, value, _ in points]
    says = (
        f"{len(values)} runs, between {min(values):.4g} and {max(values):.4g}; "
        f"the runtime became another {len(others)} times"
    )
    return draw(figure, name=identifier, title=f"{title} of every run", says=says, caption=says)
