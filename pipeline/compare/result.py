"""What a comparison of two reports says, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeticket.device_runner.strict_json import to_json
from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.task.kind import HIGHER
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import VALID
from edgeticket.pipeline.compare.bootstrap import Interval
from edgeticket.pipeline.compare.fidelity import (
    OutputPair,
    tell_decibels,
    tell_further,
    worst_pair,
)
from edgeticket.pipeline.text import plain

_SHOWN = 5  # samples that changed their class


@dataclass(frozen=True)
class ChangedSample:
    """A sample that the two reports put in different classes, or heard different texts in; None
    where nothing is asked, and the outputs are others."""

    index: int
    label: int | str | None
    before: int | str | None
    after: int | str | None


@dataclass(frozen=True)
class Comparison:
    """How ``after`` stands to ``before``."""

    kind: str  # fidelity, platform, threads
    notes: tuple[str, ...]  # what else differs: kernels, bundles
    before: str
    after: str
    interleaved: bool  # measured in turns in one session; else drift may be in the ratios
    verdicts: tuple[str, str]  # VALID, INVALID
    size_ratio: float  # bytes of before / bytes of after
    speedup_p50: Interval | Unavailable  # p50 of before / p50 of after
    speedup_p90: Interval | Unavailable
    p50_ms: tuple[float | Unavailable, float | Unavailable]
    p90_ms: tuple[float | Unavailable, float | Unavailable]
    # top-1; of texts the word error rate, WER; SQNR where nothing is asked; of other tasks the
    # headline metric of docs/tasks.md.
    measure: str
    unit: str  # of it: share, dB, pixels, target (that of the data), or none
    lower_is_better: bool
    scores: tuple[float | Unavailable, float | Unavailable]  # SQNR: the lowest of all outputs
    # What after is worse by, negative: better. Percentage points of shares, else in the unit.
    drop_points: Interval | Unavailable
    drop_relative: float | Unavailable  # the same as a share of before's score
    further: Mapping[str, tuple[float, float]]  # other measures: CER, real time, the task's
    agreement: float | Unavailable  # share of samples that both answer alike
    alike_of: int  # samples that it is of: all, or those with reference outputs
    identical_outputs: bool  # bit for bit, as int8 codes or float32
    changed: tuple[ChangedSample, ...]
    fidelity: tuple[OutputPair, ...]  # every output against its reference; none: not told
    broken_limits: tuple[str, ...]

    @property
    def noun(self) -> str:
        """What an answer is."""
        return "class" if self.measure == "top-1" else "text"

    @property
    def change_points(self) -> Interval | Unavailable:
        """How the score itself changed: up is better for top-1, and worse for an error rate."""
        drop = self.drop_points
        if self.lower_is_better or isinstance(drop, Unavailable):
            return drop
        return drop.scaled(-1.0)

    @property
    def told_score(self) -> str:
        """The score afterwards and how it changed, in a cell of a table."""
        change, score = self.change_points, self.scores[1]
        if self.measure == "SQNR":
            worst = worst_pair(self.fidelity)
            return f"{self.measure} {'–' if worst is None else tell_decibels(worst.after)}"
        if isinstance(change, Unavailable):
            return f"{self.measure} –"
        text = f"{tell_value(score, self.unit)} ({tell_change(change.value, self.unit)})"
        return text if self.measure == "top-1" else f"{self.measure} {text}"

    @property
    def told_agreement(self) -> str:
        """Whether answers are the same, in a cell of a table."""
        if self.identical_outputs:
            return "identical"
        return "–" if isinstance(self.agreement, Unavailable) else f"{self.agreement:.2%}"

    def to_json(self) -> dict[str, object]:
        """All fields as plain JSON values."""
        document: dict[str, object] = to_json(self)
        return document

    def print(self, console: Console) -> None:
        """The verdict as a table for people."""
        table = Table(
            title=Text(plain(f"{self.kind}: {self.after} against {self.before}")),
            title_justify="left",
        )
        for heading in ("", "before", "after", "change"):
            table.add_column(heading, justify="left" if not heading else "right", overflow="fold")
        p50, p90 = self.p50_ms, self.p90_ms
        table.add_row("p50 ms", tell_ms(p50[0]), tell_ms(p50[1]), _times(self.speedup_p50))
        table.add_row("p90 ms", tell_ms(p90[0]), tell_ms(p90[1]), _times(self.speedup_p90))
        table.add_row("size", "", "", f"{self.size_ratio:.2f}x smaller")
        change = self.change_points
        if self.measure != "SQNR":
            points = " points" * (self.unit == "share")
            table.add_row(
                self.measure,
                *(tell_value(score, self.unit) for score in self.scores),
                f"– ({plain(change.reason)})"
                if isinstance(change, Unavailable)
                else tell_change(change.value, self.unit)
                + points
                + change.tell_range("+.2f" if points else "+.3g"),
            )
        for name, (old, new) in self.further.items():
            table.add_row(plain(name), f"{old:.4f}", f"{new:.4f}", "")
        for pair in self.fidelity:
            of = f" {plain(pair.name)}" if len(self.fidelity) > 1 else ""
            table.add_row(
                Text(f"SQNR{of}"),
                tell_decibels(pair.before),
                tell_decibels(pair.after),
                tell_further(pair.after),
            )
        same = "identical outputs" if self.identical_outputs else f"{len(self.changed)} changed"
        if isinstance(self.agreement, Unavailable):
            same = "identical outputs" if self.identical_outputs else "–"
            table.add_row("agreement", "", "", same)
        else:
            table.add_row("agreement", "", "", f"{self.agreement:.2%} of {self.alike_of:,}, {same}")
        if self.verdicts != (VALID, VALID):
            table.add_row("validity", *self.verdicts, "")
        console.print(table)
        if self.changed and self.changed[0].after is None:
            shown = ", ".join(str(sample.index) for sample in self.changed[:_SHOWN])
            what = "outputs" if self.measure == "SQNR" else "answers"
            console.print(f"  other {what} for sample {shown}")
        for sample in [s for s in self.changed if s.after is not None][:_SHOWN]:
            console.print(
                Text(
                    f"  sample {sample.index}: {self.noun} {plain(sample.label)}, "
                    f"before {plain(sample.before)}, after {plain(sample.after)}"
                )
            )
        if len(self.changed) > _SHOWN:
            console.print(f"  and {len(self.changed) - _SHOWN} more: see --json")
        if not self.interleaved:
            console.print("The two were not measured interleaved: ratios may hold drift.")
        for sentence in self.notes:
            console.print(f"note: {plain(sentence)}", markup=False, highlight=False)
        for sentence in self.broken_limits:
            console.print(Text(f"LIMIT BROKEN: {plain(sentence)}"))


def tell_value(value: float | Unavailable, unit: str) -> str:
    """A score in a cell of a table."""
    if isinstance(value, Unavailable):
        return "–"
    return Metric("", HIGHER, unit, "").tell(value)


def tell_change(value: float, unit: str) -> str:
    """How it changed: points of shares, else in its unit."""
    return f"{value:+.2f}" if unit in ("share", "dB") else f"{value:+.3g}"


def tell_ms(value: float | Unavailable) -> str:
    """Milliseconds in a cell of a table."""
    return "–" if isinstance(value, Unavailable) else f"{value:.3f}"


def _times(ratio: Interval | Unavailable) -> str:
    if isinstance(ratio, Unavailable):
        return f"– ({ratio.reason})"
    return f"{ratio.value:.2f}x faster ({ratio.low:.2f} to {ratio.high:.2f})"


def tell_times(ratio: Interval | Unavailable) -> str:
    """A ratio in a cell of a table."""
    return "–" if isinstance(ratio, Unavailable) else f"{ratio.value:.2f}x"
