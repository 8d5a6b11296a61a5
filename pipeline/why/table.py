"""An answer for people: causes with their numbers, then how far layers are apart."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edgeticket.pipeline.text import plain
from edgeticket.pipeline.why.applied import HEADINGS, Applied, cells
from edgeticket.pipeline.why.question import Answer
from edgeticket.pipeline.why.remedy import yaml_lines

MOST_LAYERS = 12  # that are shown; JSON has all


def print_answer(answer: Answer, console: Console) -> None:
    """Print it."""
    console.print(f"{answer.first} → {answer.second}", style="bold")
    if answer.findings:
        table = Table("layer", "cause", "evidence")
        for finding in answer.findings:
            table.add_row(plain(finding.layer or "–"), str(finding.cause), plain(finding.says))
        console.print(table)
        for says in dict.fromkeys(finding.remedy.says for finding in answer.findings):
            remedy = next(f.remedy for f in answer.findings if f.remedy.says == says)
            console.print(f"remedy: {plain(says)}")
            for line in yaml_lines(remedy):
                console.print(f"    {plain(line)}")
    if answer.samples:
        worst = sorted(answer.layers, key=lambda each: each.sqnr_db)[:MOST_LAYERS]
        table = Table("layer", "value", "SQNR dB", title="furthest apart", title_justify="left")
        table.columns[2].justify = "right"
        for each in (layer for layer in answer.layers if layer in worst):
            table.add_row(plain(each.layer), plain(each.value), f"{each.sqnr_db:.1f}")
        console.print(table)
    console.print(plain(verdict(answer)))


def verdict(answer: Answer) -> str:
    """All of it in one sentence."""
    if answer.findings:
        first = answer.findings[0]
        at = "" if first.layer is None else f" at {first.layer}"
        more = len(answer.findings) - 1
        return f"{first.cause}{at}" + (f", and {more} more" if more else "")
    if answer.parted is not None:
        return (
            f"They part at {answer.parted}, by more than rounding, and none of the known causes "
            "explains it: are both of the same network and weights?"
        )
    if not answer.samples:
        return "Nothing was found; their values were not compared, as the two were not run here"
    noise = "; of noise: --samples gives real ones, by which ranges are judged too"
    return f"Nothing was found, with {answer.samples} samples" + (noise if answer.drawn else "")


def print_applied(applied: Applied, console: Console) -> None:
    """Print what a remedy changed."""
    console.print("changed: " + " ".join(f"--set {plain(each)}" for each in applied.overrides))
    table = Table(*HEADINGS, title="before → after", title_justify="left")
    for line in cells(applied):
        table.add_row(*map(plain, line))
    console.print(table)
    console.print(f"the recipe with the change: {plain(applied.recipe)}")
