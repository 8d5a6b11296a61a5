"""Result lines -> a document with tables, and plots beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.experiment.lines import Line, read_lines, read_tables
from edgeticket.pipeline.experiment.plot import plot_accuracy
from edgeticket.pipeline.output_folder import check_output
from edgeticket.pipeline.recipe import Config, check, read_document

PUBLISHED = "published.yaml"
RUNS = "runs"  # folder of tables that `edgeticket run` left, as it left them


class Published(Config):
    """A number from a paper."""

    method: str
    network: str
    dataset: str
    kept: Annotated[float, Field(gt=0, le=1)]  # share of the weights
    top1: Annotated[float, Field(ge=0, le=1)]
    source: str


class PublishedFile(Config):
    """Numbers from papers, by the experiment that they stand under."""

    experiments: Mapping[str, tuple[Published, ...]]


@dataclass(frozen=True)
class Cell:
    """The runs of one variant at one sparsity with one configuration, one for each seed."""

    lines: tuple[Line, ...]

    @property
    def mean(self) -> float:
        """Mean score on test."""
        return statistics.fmean(line.test_score for line in self.lines)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the score on test over seeds; None for a single one."""
        values = [line.test_score for line in self.lines]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def kept(self) -> float:
        """Mean share of the prunable weights that were kept."""
        return 1 - statistics.fmean(line.sparsity_reached for line in self.lines)

    def __str__(self) -> str:
        deviation = self.deviation
        if self.lines[0].unit != "share":
            return f"{self.mean:.4g}" + ("" if deviation is None else f" ± {deviation:.2g}")
        mean = f"{100 * self.mean:.2f}"
        return mean if deviation is None else f"{mean} ± {100 * deviation:.2f}"


Cells = Mapping[tuple[str, float | None], Cell]
"""(variant, sparsity wanted) -> its runs."""


def write_results(folder: Path, out: Path) -> tuple[Path, ...]:
    """Write the document ``out``, and a plot for each experiment into a folder named like it.

    Args:
        folder: holds ``*.jsonl``, as `pipeline.experiment.grid` writes them, and perhaps
            ``published.yaml``, and ``runs/NAME.md``, a run's ``summary.md`` each.
        out: the Markdown file.

    Returns:
        The plots.

    Raises:
        InputError: there are no lines, they are damaged, or ``out`` cannot be written.
    """
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in read_lines(file)]
    if not lines:
        raise InputError(f"no result lines in {folder}: run `edgeticket experiment` first")
    file = folder / PUBLISHED
    published: Mapping[str, Sequence[Published]] = {}
    if file.exists():
        document = read_document(file, kind="list of published numbers")
        published = check(PublishedFile, document, place=str(file)).experiments
    check_output(out, ours=_is_document)
    plots = out.with_suffix("")
    for name in {line.experiment for line in lines}:
        check_output(plots / f"{name}.svg", ours=_is_plot)
    make_folder(plots)
    sections, written = [], []
    for name in sorted({line.experiment for line in lines} | set(published)):
        cells, superseded = latest_cells(line for line in lines if line.experiment == name)
        sections += ["", f"## {name}", ""]
        if cells:
            written.append(plots / f"{name}.svg")
            ticks = sorted({1 - at for _, at in cells if at is not None})
            shown = next(iter(cells.values())).lines[0]
            drawing = plot_accuracy(
                name,
                _curves(cells),
                _flat(cells),
                ticks=ticks,
                measure="top-1" if shown.measure == "top1" else shown.measure,
                unit=shown.unit,
                lower_is_better=shown.lower_is_better,
            )
            write_atomic(written[-1], drawing)
            sections += _section(cells, superseded, plot=f"{plots.name}/{name}.svg")
        else:
            sections += [f"No lines yet: `edgeticket experiment {name}` makes them."]
        sections += _published_table(published.get(name, ()))
    tables = read_tables(folder / RUNS)
    if tables:
        sections += [
            "",
            "## Runs",
            "",
            f"What `edgeticket run NAME` ended with, from `{folder}/{RUNS}/`.",
        ]
        sections += [f"\n##{table}" for table in tables]
    preface = _preface(folder, out, tells_classes={line.measure for line in lines} == {"top1"})
    write_atomic(out, "\n".join([*preface, *sections]).encode() + b"\n")
    return tuple(written)


def latest_cells(lines: Iterable[Line]) -> tuple[Cells, int]:
    """Lines of one experiment, in the order of the file -> cells, and the lines left out.

    Where the configuration of a cell was changed, the one that was run last counts; lines of
    others are left out, and so are all but the last of one seed.
    """
    by_cell: dict[tuple[str, float | None], dict[str, dict[int, Line]]] = {}
    count = 0
    for line in lines:
        count += 1
        of_cell = by_cell.setdefault((line.variant, line.sparsity), {})
        seeds = of_cell.pop(line.digest, {})  # put back at the end: dicts keep the order
        of_cell[line.digest] = seeds | {line.seed: line}
    cells = {
        key: Cell(tuple(line for _, line in sorted(list(of_cell.values())[-1].items())))
        for key, of_cell in by_cell.items()
    }
    return cells, count - sum(len(cell.lines) for cell in cells.values())


def _curves(cells: Cells) -> dict[str, list[tuple[float, float, float]]]:
    """Variant -> (kept share, mean, deviation) at each sparsity."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for (variant, sparsity), cell in sorted(cells.items(), key=lambda item: str(item[0])):
        if sparsity is not None:
            point = (cell.kept, cell.mean, cell.deviation or 0.0)
            curves.setdefault(variant, []).append(point)
    return {variant: sorted(points) for variant, points in curves.items()}


def _flat(cells: Cells) -> dict[str, tuple[float, float]]:
    """Variant without a sparsity, such as dense -> (mean, deviation)."""
    return {
        variant: (cell.mean, cell.deviation or 0.0)
        for (variant, sparsity), cell in sorted(cells.items(), key=lambda item: item[0][0])
        if sparsity is None
    }


def _preface(folder: Path, out: Path, *, tells_classes: bool) -> list[str]:
    told = "Top-1 in %" if tells_classes else "Scores (top-1 and other shares in %)"
    return [
        "# Results",
        "",
        f"Written by `edgeticket results {folder} -o {out}` from the lines in `{folder}/`; do not",
        "edit. `edgeticket experiment NAME` makes the lines, and goes on where it was stopped.",
        "",
        f"{told} on the test split, which a run reads once, at its end; mean ± standard",
        "deviation over seeds. A seed decides the split of the data, the first weights and the",
        "order of the batches. Sparsity is the zeroed share of the weights that can be pruned.",
        "Epochs count all training of a run, that of the dense network included.",
    ]


def _section(cells: Cells, superseded: int, *, plot: str) -> list[str]:
    any_line = next(iter(cells.values())).lines[0]
    seeds = sorted({line.seed for cell in cells.values() for line in cell.lines})
    machines = sorted({line.run.cpu for cell in cells.values() for line in cell.lines})
    section = [
        f"{any_line.arch} ({any_line.parameters:,} parameters) on {any_line.dataset}; "
        f"{any_line.test_examples:,} test {_examples(any_line)}; "
        f"seeds {', '.join(map(str, seeds))}; {'; '.join(machines)}.",
        "",
    ]
    for (variant, sparsity), cell in sorted(cells.items(), key=lambda item: item[0][0]):
        if sparsity is None:
            section += [f"**{variant}: {cell}** ({_seeds(cell)}, {_epochs([cell])} epochs)", ""]
    section += _table(cells, len(seeds))
    if superseded:
        section += ["", f"Lines of older configurations that are left out: {superseded}."]
    return [*section, "", f"![Accuracy against kept share of the weights]({plot})"]


def _table(cells: Cells, seeds: int) -> list[str]:
    """A row for each variant, a column for each sparsity; the best of a column is bold."""
    sparsities = sorted({sparsity for _, sparsity in cells if sparsity is not None})
    variants = sorted({variant for variant, sparsity in cells if sparsity is not None})
    if not variants:
        return []
    shown = next(iter(cells.values())).lines[0]
    choose = min if shown.lower_is_better else max
    best = {
        sparsity: choose(cell.mean for (_, at), cell in cells.items() if at == sparsity)
        for sparsity in sparsities
    }
    heads = " | ".join(f"{100 * sparsity:.4g} % sparse" for sparsity in sparsities)
    rows = [f"| | {heads} | epochs |", "|---" + "|--:" * (len(sparsities) + 1) + "|"]
    for variant in variants:
        of_variant = {at: cells[variant, at] for at in sparsities if (variant, at) in cells}
        texts = []
        for sparsity in sparsities:
            cell = of_variant.get(sparsity)
            text = "–" if cell is None else str(cell)
            if cell is not None and cell.mean == best[sparsity]:
                text = f"**{text}**"
            if cell is not None and len(cell.lines) < seeds:
                text += f" ({_seeds(cell)})"
            texts.append(text)
        rows.append(f"| {variant} | {' | '.join(texts)} | {_epochs(of_variant.values())} |")
    with_sparsity = [(at, cell) for (_, at), cell in cells.items() if at is not None]
    misses = [abs(line.sparsity_reached - at) for at, cell in with_sparsity for line in cell.lines]
    return [*rows, "", f"Wanted sparsities were met within {100 * max(misses):.2f} points."]


def _published_table(published: Sequence[Published]) -> list[str]:
    if not published:
        return []
    rows = [
        f"| {p.method} | {p.network} on {p.dataset} | {100 * p.kept:.4g} | {100 * p.top1:.2f} "
        f"| {p.source} |"
        for p in published
    ]
    return [
        "",
        "Published by others, not run here; networks and budgets are theirs:",
        "",
        "| method | network | kept % | top-1 % | source |",
        "|---|---|--:|--:|---|",
        *rows,
    ]


def _examples(line: Line) -> str:
    if line.measure == "top1":
        return "images"
    better = "lower" if line.lower_is_better else "higher"
    return f"samples; {line.measure}{', %' * (line.unit == 'share')}, {better} is better"


def _is_document(data: bytes) -> bool:
    return data.startswith(b"# Results\n\nWritten by `edgeticket results ")


def _is_plot(data: bytes) -> bool:
    return b'viewBox="0 0 792 360"' in data[:600] and b'id="figure_1"' in data[:2000]


def _seeds(cell: Cell) -> str:
    count = len(cell.lines)
    return f"{count} seed{'s' * (count > 1)}"


def _epochs(cells: Iterable[Cell]) -> str:
    counts = sorted({line.epochs for cell in cells for line in cell.lines})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
