"""The table at the end of a run, for people and as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgeticket.device_runner.strict_json import format_json, to_json
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.result import tell_value
from edgeticket.pipeline.run.summary.row import LINES, SCORE, ZIPPED, Row
from edgeticket.pipeline.tickets.file.facts import TicketFacts

SHOWN = 5  # warnings of one pass


@dataclass(frozen=True)
class Pruned:
    """Single weights that were pruned: zeros in every file."""

    weights: int  # that could be pruned
    kept: int
    exact_in_int8: float  # share of all weights that their int8 code gives back, 0..1
    ticket_file: TicketFacts | None  # None: the weights were trained


@dataclass(frozen=True)
class Summary:
    """What a run ends with, for people and as data."""

    name: str
    samples: int
    dataset: str
    random: int | None  # the seed of samples that are noise; None: they are data
    machine: str
    threads: int
    withheld: tuple[str, ...]  # instruction sets kept from the runtimes
    measure: str  # of the scores: top-1, WER, or a task's headline
    unit: str  # of the scores: share, dB, pixels, target, or none
    torch_scores: Mapping[str, float | None]  # fp32 in torch, by network, on the same samples
    decoder: str | None  # of the texts, where texts are heard
    rows: tuple[Row, ...]
    invalid: tuple[str, ...]  # why measurements are, one sentence each
    steps: tuple[Mapping[str, Any], ...]  # what each step of the recipe left
    pruned: Pruned | None  # None: no single weights were

    def to_json(self) -> str:
        """All of it as strict JSON text."""
        return format_json(to_json(self)).decode()

    def to_markdown(self) -> str:
        """The table, one column for each artifact, with a line above that says what it shows."""
        lines = [f"# {self.name}", "", self._caption(), ""]
        lines += [f"| | {' | '.join(row.artifact for row in self.rows)} |"]
        lines += ["|---" + "|--:" * len(self.rows) + "|"]
        lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in self._lines()]
        notes = [*self._notes(), *self.invalid, *self._warnings()]
        return "\n".join(lines + [line for note in notes for line in ("", note)]) + "\n"

    def print(self, console: Console) -> None:
        """The same table on a terminal; seven artifacts fit into 80 columns."""
        table = Table(title=self.name, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("")
        for row in self.rows:
            style = "bold" if row.precision == "int8" else None
            table.add_column(
                row.artifact.replace("-", "\n", 2), justify="right", style=style, no_wrap=True
            )
        for label, cells in self._lines():
            table.add_row(label, *cells)
        console.print(table)
        for line in (self._caption(), *self._notes(), *self.invalid, *self._warnings()):
            console.print(line, highlight=False)

    def _lines(self) -> list[tuple[str, tuple[str, ...]]]:
        """Label of each line, and its cell for every artifact."""
        lines = []
        for label, format_cell in LINES.items():
            cells = tuple(format_cell(row) for row in self.rows)
            if any(cells) and (label != ZIPPED or self.pruned is not None):
                lines.append((self.measure if label == SCORE else label, cells))
            if label == SCORE:
                further = dict.fromkeys(name for row in self.rows for name in row.further)
                lines += [
                    (name, tuple(row.further.get(name, "–") for row in self.rows))
                    for name in further
                ]
        return lines

    def _caption(self) -> str:
        torch_scores = ", ".join(
            f"{name} {tell_value(score, self.unit)}"
            for name, score in self.torch_scores.items()
            if score is not None
        )
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        without = f" without {', '.join(self.withheld).upper()}" * bool(self.withheld)
        decoder = "" if self.decoder is None else f" Decoder: {self.decoder}."
        data = f"{self.samples} test samples of {self.dataset}"
        if self.random is not None:
            data = f"{self.samples} random samples, which are noise (seed {self.random})"
        against = f" torch fp32: {torch_scores}." if torch_scores else ""
        return (
            f"{data}; {self.machine}{without}, {threads}, "
            "batch 1, interleaved. smaller, faster (p50) and agree: against dense fp32 on the "
            "same runtime. SQNR: of the output furthest from the network in float32, in torch."
            f"{against}{decoder}"
        )

    def _warnings(self) -> list[str]:
        """What the passes found doubtful, a few sentences of each."""
        sentences = []
        for step in self.steps:
            if "warnings" not in step or not step["warnings"]:
                continue
            shown, more = step["warnings"][:SHOWN], len(step["warnings"]) - SHOWN
            rest = f"; and {more} more in summary.json, under steps" * (more > 0)
            sentences.append(f"{step['step']}: {'; '.join(shown)}{rest}.")
        return sentences

    def _notes(self) -> list[str]:
        """What there is to say about layers that were kept in float32, and about zeros."""
        notes = [
            f"{step['step']}: {step['mixed_precision']['summary']}."
            for step in self.steps
            if "mixed_precision" in step
        ]
        if self.pruned is None:
            return notes
        pruned, coded = self.pruned, self.pruned.ticket_file
        notes += [
            f"{1 - pruned.kept / pruned.weights:.1%} of {pruned.weights:,} weights are zero. Zeros "
            "make a file smaller when it is zipped, and on these runtimes nothing faster"
            f"{self._measured_gain()}."
        ]
        if coded is not None:
            notes.append(
                f"{self.name}.ticket holds this network, bit for bit, in {coded.size_bytes:,} "
                f"bytes, {coded.mask_bytes:,} of them for the mask: {coded.bits_per_weight:.3f} "
                f"bits a weight (entropy at the densities of its layers "
                f"{coded.bound_bits_per_weight:.3f}, zipped bits "
                f"{8 * coded.deflated_mask_bytes / coded.weights:.3f}). int8 gives back "
                f"{pruned.exact_in_int8:.2%} of the weights exactly. The dense network is "
                "the random one that the ticket was found in."
            )
        return notes

    def _measured_gain(self) -> str:
        """The p50 ratio of the pruned network to the dense one, where only zeros differ."""
        macs = {row.macs for row in self.rows}
        gains = [
            f"{row.times_faster:.2f}x on {row.runtime}"
            for row in self.rows
            if row.artifact.startswith("ticket-") and row.precision == "fp32"
            if not isinstance(row.times_faster, Unavailable)
        ]
        return f": fp32 with zeros runs at {', '.join(gains)}" * bool(gains and len(macs) == 1)
