"""The table at the end of a run: every artifact against the dense fp32 network."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from device_runner.bundle import open_bundle
from device_runner.manifest import Manifest
from device_runner.report import Report, Transcription
from device_runner.strict_json import format_json, to_json
from device_runner.terminal import validity_lines
from device_runner.unavailable import Unavailable
from pipeline.compare import Interval, Limits, compare
from pipeline.compare.answers import tell_factor
from pipeline.ticket_file.facts import TicketFacts

_NO_BASELINE = Unavailable("the bundle carries no dense fp32 artifact to compare with")

SHOWN = 5  # warnings of one pass


@dataclass(frozen=True)
class Row:
    """One artifact. The last five compare it with a dense fp32 artifact."""

    artifact: str
    runtime: str
    precision: str
    size_bytes: int
    zipped_bytes: int  # by zlib at its best
    parameters: int
    macs: int
    p50_ms: float | Unavailable
    p90_ms: float | Unavailable
    score: float  # by the summary's measure
    cer: float | None  # character error rate, where texts are heard
    real_time: float | Unavailable  # time for speech per time of speech
    # Against dense fp32 on the same runtime:
    agreement: float | Unavailable
    drop_points: float | Unavailable
    times_smaller: float | Unavailable
    times_faster: float | Unavailable  # by p50
    # Against dense fp32 on whichever runtime runs that fastest:
    times_faster_than_best: float | Unavailable
    validity: str  # VALID, INVALID


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
    machine: str
    threads: int
    withheld: tuple[str, ...]  # instruction sets kept from the runtimes
    measure: str  # of the scores: top-1, WER
    torch_scores: Mapping[str, float | None]  # fp32 in torch, by network, on the same samples
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
        return [
            (self.measure if label == SCORE else label, cells)
            for label, format_cell in LINES.items()
            if label != ZIPPED or self.pruned is not None
            if any(cells := tuple(format_cell(row) for row in self.rows))
        ]

    def _caption(self) -> str:
        torch_scores = ", ".join(
            f"{name} {score:.2%}" for name, score in self.torch_scores.items() if score is not None
        )
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        without = f" without {', '.join(self.withheld).upper()}" * bool(self.withheld)
        return (
            f"{self.samples} test samples of {self.dataset}; {self.machine}{without}, {threads}, "
            "batch 1, interleaved. smaller, faster (p50) and agree: against dense fp32 on the "
            f"same runtime. torch fp32: {torch_scores}."
        )

    def _warnings(self) -> list[str]:
        """What the passes found doubtful, a few sentences of each."""
        found = []
        for step in self.steps:
            if "warnings" not in step or not step["warnings"]:
                continue
            shown, more = step["warnings"][:SHOWN], len(step["warnings"]) - SHOWN
            rest = f"; and {more} more in the log" * (more > 0)
            found.append(f"{step['step']}: {'; '.join(shown)}{rest}.")
        return found

    def _notes(self) -> list[str]:
        """What there is to say about zeros."""
        if self.pruned is None:
            return []
        pruned, coded = self.pruned, self.pruned.ticket_file
        notes = [
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


def summarize(
    bundle_folder: Path,
    reports: Sequence[Report],
    steps: Sequence[Mapping[str, Any]],
    pruned: Pruned | None,
) -> Summary:
    """Reports of one bundle, measured in one session on one machine -> summary."""
    with open_bundle(bundle_folder) as bundle:
        manifest = bundle.manifest
        zipped = {a.id: len(zlib.compress(bundle.read(a.file), 9)) for a in manifest.artifacts}
    order = [artifact.id for artifact in manifest.artifacts]
    ordered = sorted(reports, key=lambda report: order.index(report.artifact.id))
    dense = [
        report
        for report in ordered
        if report.artifact.network == "dense" and report.artifact.precision == "fp32"
    ]
    first = ordered[0]
    machine = first.machine.cpu if isinstance(first.machine.cpu, str) else "this machine"
    return Summary(
        name=manifest.name,
        samples=manifest.samples.count,
        dataset=manifest.samples.dataset,
        machine=machine,
        threads=first.runtime.threads,
        withheld=first.runtime.withheld,
        measure=first.accuracy.measure,
        torch_scores={
            name: next(iter(network.scores.values()), None)
            for name, network in manifest.networks.items()
        },
        rows=tuple(
            _row(report, dense, manifest, zipped_bytes=zipped[report.artifact.id])
            for report in ordered
        ),
        invalid=tuple(line for line in validity_lines(ordered) if "INVALID" in line),
        steps=tuple(steps),
        pruned=pruned,
    )


def _row(report: Report, dense: Sequence[Report], manifest: Manifest, *, zipped_bytes: int) -> Row:
    network = manifest.networks[report.artifact.network]
    comparisons = [compare(base, report, limits=Limits()) for base in dense]
    own = next(
        (c for c, b in zip(comparisons, dense, strict=True) if _same_runtime(b, report)), None
    )
    ratios = [c.speedup_p50.value for c in comparisons if isinstance(c.speedup_p50, Interval)]
    return Row(
        artifact=report.artifact.id,
        runtime=report.artifact.runtime,
        precision=report.artifact.precision,
        size_bytes=report.artifact.size_bytes,
        zipped_bytes=zipped_bytes,
        parameters=network.parameters,
        macs=network.macs,
        p50_ms=_in_ms(report.latency.p50_ns),
        p90_ms=_in_ms(report.latency.p90_ns),
        score=report.accuracy.score,
        cer=report.accuracy.cer if isinstance(report.accuracy, Transcription) else None,
        real_time=tell_factor(report),
        agreement=own.agreement if own else _NO_BASELINE,
        drop_points=own.drop_points.value if own else _NO_BASELINE,
        times_smaller=own.size_ratio if own else _NO_BASELINE,
        times_faster=_value(own.speedup_p50) if own else _NO_BASELINE,
        times_faster_than_best=min(ratios, default=_NO_BASELINE),
        validity=report.validity.verdict,
    )


def _value(ratio: Interval | Unavailable) -> float | Unavailable:
    return ratio.value if isinstance(ratio, Interval) else ratio


def _same_runtime(a: Report, b: Report) -> bool:
    return a.artifact.runtime == b.artifact.runtime


def _in_ms(value_ns: int | Unavailable) -> float | Unavailable:
    return value_ns if isinstance(value_ns, Unavailable) else value_ns / 1e6


def _format(value: float | Unavailable, pattern: str) -> str:
    return "–" if isinstance(value, Unavailable) else pattern.format(value)


SCORE = "score"
ZIPPED = "kB zipped"  # told where zeros make a difference
LINES: dict[str, Callable[[Row], str]] = {
    "kB": lambda row: f"{row.size_bytes / 1000:,.0f}",
    ZIPPED: lambda row: f"{row.zipped_bytes / 1000:,.0f}",
    "parameters": lambda row: f"{row.parameters:,}",
    "MACs": lambda row: f"{row.macs / 1e6:,.1f} M",
    "p50 ms": lambda row: _format(row.p50_ms, "{:.3f}"),
    "p90 ms": lambda row: _format(row.p90_ms, "{:.3f}"),
    SCORE: lambda row: f"{row.score:.2%}",
    "CER": lambda row: "" if row.cer is None else f"{row.cer:.2%}",
    "real time": lambda row: "" if row.cer is None else _format(row.real_time, "{:.4f}"),
    "agree": lambda row: _format(row.agreement, "{:.2%}"),
    "smaller": lambda row: _format(row.times_smaller, "{:.1f}x"),
    "faster": lambda row: _format(row.times_faster, "{:.2f}x"),
    "vs best fp32": lambda row: _format(row.times_faster_than_best, "{:.2f}x"),
    "validity": lambda row: row.validity,
}
