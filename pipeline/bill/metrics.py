"""Accuracy and fidelity, out of a manifest and out of reports, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeticket.device_runner.fidelity import tell_sqnr
from edgeticket.device_runner.manifest import Network
from edgeticket.device_runner.plain_text import plain
from edgeticket.device_runner.report import (
    Report,
    TaskScores,
    Transcription,
    Unlabelled,
    tell_score,
)
from edgeticket.device_runner.task import read_settings
from edgeticket.device_runner.unavailable import Unavailable


@dataclass(frozen=True)
class Metric:
    """One figure of one network or artifact, on the test samples; plain text."""

    subject: str  # an artifact's id, or a network's name
    name: str
    value: str


def torch_metrics(networks: Mapping[str, Network]) -> list[Metric]:
    """What networks reached before they became files."""
    return [
        Metric(plain(network), plain(name), f"{score:.6g}")
        for network, facts in networks.items()
        for name, score in facts.scores.items()
        if not isinstance(score, Unavailable)
    ]


def metrics_of(reports: Sequence[Report]) -> list[Metric]:
    """What artifacts reached as files; of the same artifact on several machines each."""
    return [
        Metric(plain(report.artifact.id), plain(name), plain(value))
        for report in reports
        for name, value in _figures(report)
    ]


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    accuracy = report.accuracy
    if not isinstance(accuracy, Unlabelled) and not isinstance(accuracy.score, Unavailable):
        yield accuracy.measure, tell_score(report)
    if isinstance(accuracy, Transcription):
        yield "CER", f"{accuracy.cer:.2%}"
    if isinstance(accuracy, TaskScores):
        task, settings = read_settings(accuracy.task, accuracy.settings, place="task")
        for metric in task.metrics(settings):
            value = accuracy.metrics[metric.name]
            if metric.name != accuracy.headline and not isinstance(value, Unavailable):
                yield metric.name, metric.tell(value)
    fidelity = report.fidelity
    if isinstance(fidelity, Unavailable):
        return
    yield "SQNR against float32", tell_sqnr(fidelity)
    agreement = fidelity.agreement(report.artifact.network)
    if not isinstance(agreement, Unavailable):
        yield "answers as in float32", f"{agreement:.2%}"
    for other in fidelity.between:
        shares = [one.equal_share for one in other.outputs if isinstance(one.equal_share, float)]
        if shares and report.artifact.precision == "int8":
            # Rounded down, so that only what is exactly all reads 100.
            yield f"codes equal to {other.artifact}", f"{int(min(shares) * 10_000) / 100:g}%"
