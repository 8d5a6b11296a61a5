"""How well an artifact does its task, as a page tells it: whatever is asked of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.device_runner.report import (
    Accuracy,
    Report,
    TaskScores,
    Transcription,
    Unlabelled,
)
from edgeticket.device_runner.task import read_settings
from edgeticket.device_runner.task.kind import Metric
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.page import words

CLASSES = ("Right answers", "%", "share of the test samples whose first answer is right (top-1)")
TEXTS = ("Word errors", "%", "wrong words per spoken word (WER); lower is better")
NEARNESS = (
    "Nearness",
    "dB",
    "how near the outputs are to those of the network in float32: signal to noise ratio (SQNR), "
    "of the output that is furthest off; higher is better",
)
UNITS = {"share": "%", "dB": "dB", "pixels": "px", "target": "the targets' unit", "": ""}


@dataclass(frozen=True)
class Measure:
    """What the score is called, its unit, what it means, and which direction is better."""

    heading: str
    unit: str
    meaning: str
    lower_is_better: bool

    @property
    def axis(self) -> str:
        """For an axis of a chart."""
        name = self.heading[:1].lower() + self.heading[1:] if " " in self.heading else self.heading
        return f"{name}, {self.unit}" if self.unit else name


def measure_of(report: Report) -> Measure:
    """By what the report's answers are judged."""
    accuracy = report.accuracy
    if isinstance(accuracy, TaskScores):
        metric = accuracy.described
        better = "lower" if accuracy.lower_is_better else "higher"
        meaning = f"{metric.meaning}; {better} is better"
        return Measure(metric.name, UNITS[metric.unit], meaning, accuracy.lower_is_better)
    told = {Accuracy: CLASSES, Transcription: TEXTS}.get(type(accuracy), NEARNESS)
    return Measure(*told, lower_is_better=accuracy.lower_is_better)


def score_of(report: Report) -> float | None:
    """The score in its measure's unit; None: there is none, or the outputs are exact."""
    accuracy = report.accuracy
    if isinstance(accuracy, Unlabelled):
        if isinstance(report.fidelity, Unavailable):
            return None
        sqnr = report.fidelity.worst.sqnr_db
        return None if isinstance(sqnr, Unavailable) else sqnr
    score = accuracy.score
    if isinstance(score, Unavailable):
        return None
    return 100 * score if measure_of(report).unit == "%" else score


def tell_score(report: Report) -> str:
    """The score in a cell of a table, without its unit."""
    score = score_of(report)
    if score is None:
        is_exact = (
            isinstance(report.accuracy, Unlabelled)
            and not isinstance(report.fidelity, Unavailable)
            and report.fidelity.worst.largest_error == 0
        )
        return "exact" if is_exact else words.NONE
    unit = measure_of(report).unit
    if unit == "%":
        return words.percent(score / 100).removesuffix(" %")
    return f"{score:.1f}" if unit == "dB" else f"{score:.4g}"


def tell_whole(report: Report) -> str:
    """The score with its unit, in a sentence."""
    unit = measure_of(report).unit
    return f"{tell_score(report)} {unit}" if unit in ("%", "dB", "px") else tell_score(report)


def tell_change(report: Report, base: Report) -> str:
    """The score minus that of the baseline: of shares in points."""
    ours, theirs = score_of(report), score_of(base)
    if isinstance(report.accuracy, Unlabelled) or ours is None or theirs is None:
        return words.NONE
    if measure_of(report).unit == "%":
        return words.points((ours - theirs) / 100)
    return "0" if ours == theirs else f"{ours - theirs:+.3g}".replace("-", "−")


def agreement(report: Report, base: Report) -> float | None:
    """Share of samples with the answer that the baseline gives; None: it cannot be told.

    Answers of a task are held against the reference outputs of the baseline's network.
    """
    ours, theirs = report.accuracy, base.accuracy
    if isinstance(ours, TaskScores):
        if isinstance(report.fidelity, Unavailable):
            return None
        share = report.fidelity.agreement(base.artifact.network)
        return None if isinstance(share, Unavailable) else share
    if not isinstance(ours, Accuracy | Transcription) or type(ours) is not type(theirs):
        return None
    pairs: Sequence[tuple[object, object]] = list(zip(ours.answers, theirs.answers, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def metrics_of(report: Report) -> tuple[tuple[Metric, str], ...]:
    """All metrics of a task, as told by their unit; none where there is one score."""
    accuracy = report.accuracy
    if not isinstance(accuracy, TaskScores):
        return ()
    task, settings = read_settings(accuracy.task, accuracy.settings, place="task")
    known = {m.name: m for m in task.metrics(settings) if m.name in accuracy.metrics}
    told = {name: metric.tell(accuracy.metrics[name]) for name, metric in known.items()}
    return tuple((known[name], words.NONE if text == "-" else text) for name, text in told.items())
