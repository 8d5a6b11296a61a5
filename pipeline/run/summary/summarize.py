"""Reports of one run become its summary: every artifact against the dense fp32 network."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.fidelity import OutputFidelity
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.report import (
    Accuracy,
    Judged,
    Report,
    TaskScores,
    Transcription,
    Unlabelled,
    tell_score,
)
from edgeticket.device_runner.task import read_settings
from edgeticket.device_runner.terminal import validity_lines
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare import Interval, Limits, compare
from edgeticket.pipeline.compare.answers import tell_factor
from edgeticket.pipeline.run.summary.row import Row
from edgeticket.pipeline.run.summary.table import Pruned, Summary

_NO_BASELINE = Unavailable("the bundle carries no dense fp32 artifact to compare with")
TOP5_CLASSES = 20  # with fewer, five guesses are a quarter of all classes and more


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
        random=manifest.samples.random,
        dataset=manifest.samples.dataset,
        machine=machine,
        threads=first.runtime.threads,
        withheld=first.runtime.withheld,
        measure=first.accuracy.measure,
        unit=first.accuracy.described.unit if isinstance(first.accuracy, TaskScores) else "share",
        torch_scores={
            name: _torch_score(network.scores, first.accuracy)
            for name, network in manifest.networks.items()
        },
        decoder=first.accuracy.decoder if isinstance(first.accuracy, Transcription) else None,
        rows=tuple(
            _row(report, dense, manifest, zipped_bytes=zipped[report.artifact.id])
            for report in ordered
        ),
        invalid=tuple(line for line in validity_lines(ordered) if "INVALID" in line),
        steps=tuple(steps),
        pruned=pruned,
    )


def _torch_score(scores: Mapping[str, float | Unavailable], accuracy: Judged) -> float | None:
    """What the network reached in torch, by the measure of the reports; None: not known."""
    key = accuracy.headline if isinstance(accuracy, TaskScores) else next(iter(scores), None)
    score = None if key is None else scores.get(key)
    return score if isinstance(score, float) else None


def _row(report: Report, dense: Sequence[Report], manifest: Manifest, *, zipped_bytes: int) -> Row:
    network = manifest.networks[report.artifact.network]
    comparisons = [compare(base, report, limits=Limits()) for base in dense]
    against_dense = next(
        (c for c, b in zip(comparisons, dense, strict=True) if _same_runtime(b, report)), None
    )
    worst, sqnr = _worst(report)
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
        score=sqnr if isinstance(report.accuracy, Unlabelled) else report.accuracy.score,
        measure=report.accuracy.measure,
        told_score=_told_score(report),
        further=_further(report.accuracy),
        worst_output=worst.name if worst is not None and len(report.artifact.outputs) > 1 else None,
        sqnr_db=sqnr,
        equal_codes=_equal_codes(report),
        top5=_top5(report, classes=len(manifest.labels)),
        cer=report.accuracy.cer if isinstance(report.accuracy, Transcription) else None,
        real_time=tell_factor(report),
        agreement=against_dense.agreement if against_dense else _NO_BASELINE,
        drop_points=_value(against_dense.drop_points) if against_dense else _NO_BASELINE,
        times_smaller=against_dense.size_ratio if against_dense else _NO_BASELINE,
        times_faster=_value(against_dense.speedup_p50) if against_dense else _NO_BASELINE,
        times_faster_than_best=min(ratios, default=_NO_BASELINE),
        validity=report.validity.verdict,
    )


def _told_score(report: Report) -> str:
    if isinstance(report.accuracy, Unlabelled):
        return ""
    return "–" if isinstance(report.accuracy.score, Unavailable) else tell_score(report)


def _further(accuracy: Judged) -> dict[str, str]:
    """Metrics beside the headline, as far as they could be had."""
    if not isinstance(accuracy, TaskScores):
        return {}
    task, settings = read_settings(accuracy.task, accuracy.settings, place="task")
    return {
        metric.name: metric.tell(accuracy.metrics[metric.name])
        for metric in task.metrics(settings)
        if metric.name != accuracy.headline
        and not isinstance(accuracy.metrics[metric.name], Unavailable)
    }


def _worst(report: Report) -> tuple[OutputFidelity | None, float | Unavailable]:
    """The output that is furthest from the network in float32, and its ratio in dB."""
    if isinstance(report.fidelity, Unavailable):
        return None, report.fidelity
    worst = report.fidelity.worst
    return worst, worst.sqnr_db


def _equal_codes(report: Report) -> float | None:
    """The share of codes that are those of the first int8 file of another runtime; of several
    outputs the lowest."""
    if isinstance(report.fidelity, Unavailable):
        return None
    shares = [
        output.equal_share
        for other in report.fidelity.between
        for output in other.outputs
        if isinstance(output.equal_share, float) and report.artifact.precision == "int8"
    ]
    return min(shares, default=None)


def _top5(report: Report, *, classes: int) -> float | None:
    top5 = report.accuracy.top5 if isinstance(report.accuracy, Accuracy) else None
    return top5 if isinstance(top5, float) and classes >= TOP5_CLASSES else None


def _value(ratio: Interval | Unavailable) -> float | Unavailable:
    return ratio.value if isinstance(ratio, Interval) else ratio


def _same_runtime(a: Report, b: Report) -> bool:
    return a.artifact.runtime == b.artifact.runtime


def _in_ms(value_ns: int | Unavailable) -> float | Unavailable:
    return value_ns if isinstance(value_ns, Unavailable) else value_ns / 1e6
