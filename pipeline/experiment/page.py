"""An experiment as a page: what was compared, on how many seeds, and which did best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter, NullLocator

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.lines import Line, read_lines
from edgeticket.pipeline.experiment.results import Cells, latest_cells
from edgeticket.pipeline.output_folder import write_output
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.charts.drawing import Chart, draw, new_figure, styled
from edgeticket.pipeline.page.file import is_page
from edgeticket.pipeline.page.listing import Part, Table, render_listing
from edgeticket.pipeline.page.palette import LIGHT
from edgeticket.pipeline.page.sections.verdict.statement import GOOD, OPEN, Statement
from edgeticket.pipeline.text import plain

STROKES = ("-", "--", ":", "-.")
MARKERS = "os^DvP*X"
COLOURS = ("accent", "other", "good", "bad", "warn", "quiet")
WORDS = (
    ("variant", "One way of doing it that the experiment compares."),
    ("sparsity", "The share of the weights that are zero, or were removed."),
    ("seed", "Decides the split of the data, the first weights and the order of the batches."),
    ("±", "Standard deviation over seeds; of a single seed there is none."),
    ("epochs", "Passes over the training data, those of the dense network included."),
    ("test", "Samples that no choice has seen: a run reads them once, at its end."),
)


def write_experiment_page(paths: Sequence[Path], file: Path) -> None:
    """Make a page of result lines; an older page gives way.

    Args:
        paths: files of lines, or folders of them.
        file: the page.

    Raises:
        InputError: there are no lines, they are damaged, or another file is at ``file``.
    """
    files = [
        f for path in paths for f in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])
    ]
    lines = [line for f in files for line in read_lines(f)]
    write_output(file, render_experiments(lines), ours=is_page)


def render_experiments(lines: Sequence[Line]) -> bytes:
    """The page as UTF-8; one part for each experiment.

    Raises:
        InputError: there are no lines.
    """
    if not lines:
        raise InputError("there are no result lines: run `edgeticket experiment` first")
    names = list(dict.fromkeys(line.experiment for line in lines))
    parts, statements = [], []
    for number, name in enumerate(names):
        cells, superseded = latest_cells(line for line in lines if line.experiment == name)
        parts.append(_part(name, cells, superseded, number))
        statements.append(_best(name, cells))
    parts.append(Part("Words on this page", words=WORDS))
    runs = words.plural(len(lines), "run")
    return render_listing(
        parts,
        title=names[0] if len(names) == 1 else "Experiments",
        eyebrow="edgeticket experiment",
        lead=f"{runs}, each trained from its seed and judged on samples that no choice has seen.",
        statements=statements,
    )


def _best(name: str, cells: Cells) -> Statement:
    shown = next(iter(cells.values())).lines[0]
    pruned = {key: cell for key, cell in cells.items() if key[1] is not None} or dict(cells)
    choose = min if shown.lower_is_better else max
    key = choose(pruned, key=lambda k: pruned[k].mean)
    cell, (variant, sparsity) = pruned[key], key
    at = "" if sparsity is None else f" at {100 * sparsity:.4g} % sparse"
    near = [
        other for k, other in pruned.items()
        if k != key and k[1] == sparsity and abs(other.mean - cell.mean)
        <= (cell.deviation or 0.0) + (other.deviation or 0.0)
    ]  # fmt: skip
    others = f"{words.plural(len(near), 'other variant')} of the same sparsity within ±"
    doubt = "One seed each: a difference may be chance."
    if len(cell.lines) > 1:
        seeds = len(cell.lines)
        doubt = (
            f"{others}: chance may decide." if near else f"None else within ±, over {seeds} seeds."
        )
    mark = GOOD if len(cell.lines) > 1 and not near else OPEN
    return Statement(f"{name}: which did best?", mark, f"{variant}{at}: {cell}.", (doubt,))


def _part(name: str, cells: Cells, superseded: int, number: int) -> Part:
    first = next(iter(cells.values())).lines[0]
    every = [line for cell in cells.values() for line in cell.lines]
    seeds = sorted({line.seed for line in every})
    machines = sorted({line.run.cpu for line in every})
    hours = sum(line.run.seconds for line in every) / 3600
    lines = (
        f"{first.arch} ({first.parameters:,} parameters) on {first.dataset}; "
        f"{first.test_examples:,} test samples; {_measure(first)}, "
        f"{'lower' if first.lower_is_better else 'higher'} is better.",
        f"Seeds {', '.join(map(str, seeds))}; {'; '.join(machines)}; "
        f"{hours:,.1f} hours of training together.",
    )
    after = (f"{superseded} lines of older configurations are left out.",) if superseded else ()
    chart = _draw(name, cells, number)
    return Part(name, lines, () if chart is None else (chart,), _table(cells), after=after)


def _table(cells: Cells) -> Table:
    sparsities = sorted({at for _, at in cells if at is not None})
    variants = list(dict.fromkeys(variant for variant, _ in cells))
    rows = []
    for variant in variants:
        texts = []
        for at in (None, *sparsities):
            cell = cells.get((variant, at))
            text = words.NONE if cell is None else f"{cell} ({len(cell.lines)})"
            texts.append(text)
        epochs = {line.epochs for (of, _), c in cells.items() if of == variant for line in c.lines}
        told = f"{min(epochs)}" if len(epochs) == 1 else f"{min(epochs)}–{max(epochs)}"
        rows.append((variant, *texts, told))
    columns = ("not pruned", *(f"{100 * at:.4g} % sparse" for at in sparsities))
    return Table(
        "Mean score on test ± standard deviation, and in brackets how many seeds.",
        ("Variant", *columns, "Epochs"),
        tuple(rows),
        tuple(range(1, len(columns) + 2)),
    )


@styled
def _draw(name: str, cells: Cells, number: int) -> Chart | None:
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for (variant, at), cell in cells.items():
        if at is not None:
            curves.setdefault(plain(variant), []).append(
                (100 * cell.kept, _scaled(cell.mean, cell.lines[0]),
                 _scaled(cell.deviation or 0.0, cell.lines[0]))
            )  # fmt: skip
    if not curves:
        return None
    shown = next(iter(cells.values())).lines[0]
    figure, axes = new_figure(7.2, 3.6)
    for i, (variant, points) in enumerate(curves.items()):
        kept, means, deviations = zip(*sorted(points), strict=True)
        colour = LIGHT[COLOURS[i % len(COLOURS)]]
        axes.errorbar(
            kept, means, yerr=deviations, label=variant, color=colour, capsize=2, markersize=5,
            marker=MARKERS[i % len(MARKERS)], linestyle=STROKES[(i // 2) % len(STROKES)],
        )  # fmt: skip
    for i, ((variant, at), cell) in enumerate(cells.items()):
        if at is None:
            axes.axhline(
                _scaled(cell.mean, shown), color=LIGHT["ink"], linewidth=1,
                linestyle=STROKES[1 + i % 3], label=plain(variant),
            )  # fmt: skip
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xlabel("kept share of the weights, %")
    axes.set_ylabel(_measure(shown))
    shares = sorted({100 * (1 - at) for _, at in cells if at is not None})
    axes.set_xticks([round(share, 6) for share in shares])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside right upper")
    told = "; ".join(
        f"{variant} {points[0][1]:.4g} to {points[-1][1]:.4g}" for variant, points in curves.items()
    )
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:40]
    return draw(
        figure, name=f"experiment-{number}-{slug}",
        title=f"{name}: score against the kept share of the weights",
        says=f"{len(curves)} variants, from the fewest zeros to the most: {told}.",
        caption="Bars: standard deviation over seeds. Level lines: variants that are not pruned.",
    )  # fmt: skip


def _scaled(value: float, line: Line) -> float:
    return 100 * value if line.unit == "share" else value


def _measure(line: Line) -> str:
    name = "top-1" if line.measure == "top1" else plain(line.measure)
    return f"{name} on test{', %' if line.unit == 'share' else ''}"
