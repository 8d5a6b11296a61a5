"""What a schema cannot say of a report: its parts must agree."""

from __future__ import annotations

import math

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import Between, Fidelity
from edgeticket.device_runner.latency import summarise
from edgeticket.device_runner.manifest import check_tensor
from edgeticket.device_runner.placement import in_words
from edgeticket.device_runner.report.fields import (
    Accuracy,
    Report,
    TaskScores,
    Transcription,
    Unlabelled,
    tell_real_time,
)
from edgeticket.device_runner.scenarios import PACED, tell_deadlines, tell_throughput
from edgeticket.device_runner.sustained import SUSTAINED, sustained_of
from edgeticket.device_runner.task import read_settings
from edgeticket.device_runner.transcripts import character_error_rate, word_error_rate
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.device_runner.validity import INVALID
from edgeticket.device_runner.windows import split_windows


def check_report(report: Report, place: str) -> None:
    """Hold the parts against one another.

    Raises:
        InputError: two of them contradict one another.
    """
    for spec in report.artifact.inputs:
        check_tensor(spec, place=f"{place}: input {spec.name}")
    for spec in report.artifact.outputs:
        check_tensor(spec, place=f"{place}: output {spec.name}")
    _check_times(report, place)
    placement = report.placement
    if not isinstance(placement, Unavailable) and placement.words != in_words(placement.operators):
        raise InputError(f"{place} at /placement/words: they do not follow from the numbers")
    verdict, reasons = report.validity.verdict, report.validity.reasons
    if (verdict == INVALID) != bool(reasons):
        raise InputError(f"{place} at /validity: {verdict} with {len(reasons)} reasons")
    if isinstance(report.accuracy, Transcription):
        _check_transcription(report.accuracy, place)
    elif isinstance(report.accuracy, Accuracy):
        _check_classes(report.accuracy, report.artifact.output.shape[-1], place)
    else:
        _check_sums(report.accuracy, place)
        if isinstance(report.accuracy, TaskScores):
            _check_scores(report.accuracy, place)
    _check_fidelity(report, place)
    if isinstance(report.accuracy, Transcription) == isinstance(report.real_time, Unavailable):
        raise InputError(f"{place} at /real_time: transcriptions have it, and nothing else")
    if report.artifact.id not in report.session.artifacts:
        raise InputError(
            f"{place} at /session/artifacts: {report.artifact.id!r} was not part of the session"
        )
    if report.artifact.runtime != report.runtime.name:
        raise InputError(
            f"{place} at /runtime/name: {report.runtime.name} cannot have run an artifact "
            f"for {report.artifact.runtime}"
        )


def _check_sums(accuracy: Unlabelled | TaskScores, place: str) -> None:
    if len(accuracy.sample_crc32) != accuracy.count:
        raise InputError(
            f"{place} at /accuracy: count is {accuracy.count}, but there are "
            f"{len(accuracy.sample_crc32)} check sums"
        )


def _check_scores(accuracy: TaskScores, place: str) -> None:
    """The metrics must be those of the task, and the headline what the samples bring to it."""
    at = f"{place} at /accuracy"
    task, settings = read_settings(accuracy.task, accuracy.settings, place=f"{at}: task")
    names = [metric.name for metric in task.metrics(settings)]
    if accuracy.headline != task.headline or set(accuracy.metrics) != set(names):
        raise InputError(
            f"{at}: the task {task.name} has the headline {task.headline} of "
            f"{', '.join(names) or 'no metrics'}, and there is {accuracy.headline} of "
            f"{', '.join(accuracy.metrics)}"
        )
    ratio, score = accuracy.per_sample, accuracy.score
    if isinstance(ratio, Unavailable):
        return
    if {len(ratio.values), len(ratio.weights)} != {accuracy.count}:
        raise InputError(
            f"{at}/per_sample: {len(ratio.values)} values and {len(ratio.weights)} weights for "
            f"{accuracy.count} samples"
        )
    weight = math.fsum(ratio.weights)
    follows = math.fsum(ratio.values) / weight if weight else math.nan
    if isinstance(score, Unavailable) or not math.isclose(score, follows, rel_tol=1e-6):
        raise InputError(
            f"{at}/metrics/{accuracy.headline}: {score} does not follow from what the samples "
            f"bring, which is {follows}"
        )


def _check_fidelity(report: Report, place: str) -> None:
    if isinstance(report.fidelity, Unavailable):
        return
    samples = report.fidelity.samples
    compared: list[Fidelity | Between] = [report.fidelity, *report.fidelity.between]
    for one in compared:
        if len(one.outputs) != len(report.artifact.outputs):
            raise InputError(
                f"{place} at /fidelity: {len(one.outputs)} outputs, the artifact has "
                f"{len(report.artifact.outputs)}"
            )
        last = max(max(output.worst_sample, output.changed - 1) for output in one.outputs)
        if last >= samples:
            raise InputError(
                f"{place} at /fidelity: more samples than the {samples} that were compared"
            )
    for network, differing in report.fidelity.differing.items():
        if isinstance(differing, Unavailable):
            continue
        if list(differing) != sorted(set(differing)) or max(differing, default=0) >= samples:
            raise InputError(
                f"{place} at /fidelity/differing/{network}: samples are in order, each once, and "
                f"of the {samples} that were compared"
            )


def _check_classes(accuracy: Accuracy, classes: int, place: str) -> None:
    lengths = len(accuracy.predictions), len(accuracy.labels)
    if lengths != (accuracy.count, accuracy.count):
        raise InputError(
            f"{place} at /accuracy: count is {accuracy.count}, but there are "
            f"{lengths[0]} predictions and {lengths[1]} labels"
        )
    right = sum(p == label for p, label in zip(accuracy.predictions, accuracy.labels))
    if abs(accuracy.top1 - right / accuracy.count) > 1e-9:
        raise InputError(
            f"{place} at /accuracy/top1: {accuracy.top1} does not follow from the predictions, "
            f"of which {right} in {accuracy.count} are right"
        )
    highest = max((*accuracy.predictions, *accuracy.labels))
    if highest >= classes:
        raise InputError(
            f"{place} at /accuracy: class {highest} is beyond the {classes} outputs of the artifact"
        )


def _check_transcription(accuracy: Transcription, place: str) -> None:
    lengths = len(accuracy.heard), len(accuracy.said)
    if lengths != (accuracy.count, accuracy.count):
        raise InputError(
            f"{place} at /accuracy: count is {accuracy.count}, but there are {lengths[0]} texts "
            f"that were heard and {lengths[1]} that were said"
        )
    for name, rate in (("wer", word_error_rate), ("cer", character_error_rate)):
        told, follows = getattr(accuracy, name), rate(accuracy.said, accuracy.heard)
        if abs(told - follows) > 1e-9:
            raise InputError(
                f"{place} at /accuracy/{name}: {told} does not follow from the texts, which give "
                f"{follows}"
            )


def _check_sustained(report: Report, place: str) -> None:
    """The last minute is the one that all times are kept of; the rest follows from the minutes."""
    sustained, latency = report.sustained, report.latency
    if (latency.scenario == SUSTAINED) == isinstance(sustained, Unavailable):
        raise InputError(f"{place} at /sustained: {SUSTAINED} queries have it, and no others")
    if isinstance(sustained, Unavailable):
        return
    if sustained != sustained_of(sustained.minutes, minute_s=sustained.minute_s):
        raise InputError(f"{place} at /sustained: it does not follow from its minutes")
    last = sustained.minutes[-1]
    told = last.queries, last.mean_ns, last.p50_ns, last.p90_ns
    if told != (latency.queries, latency.mean_ns, latency.p50_ns, latency.p90_ns):
        raise InputError(f"{place} at /sustained: its last minute is not that of /latency")


def _check_times(report: Report, place: str) -> None:
    """What is told about the timed queries must follow from them."""
    latency, batch = report.latency, report.throughput.batch
    told = summarise(
        latency.samples_ns, warmup_queries=latency.warmup_queries, scenario=latency.scenario
    )
    if latency != told:
        raise InputError(f"{place} at /latency: the summary does not follow from samples_ns")
    if report.windows != split_windows(latency.samples_ns, report.windows.count):
        raise InputError(f"{place} at /windows: they do not follow from samples_ns")
    _check_sustained(report, place)
    paced = latency.scenario == PACED
    if paced == isinstance(report.deadlines, Unavailable):
        raise InputError(f"{place} at /deadlines: paced frames have them, and no others")
    rate_hz = None if isinstance(report.deadlines, Unavailable) else report.deadlines.rate_hz
    if paced and report.deadlines != tell_deadlines(latency, rate_hz=rate_hz):
        raise InputError(f"{place} at /deadlines: they do not follow from samples_ns")
    how = report.throughput.how
    real_time = report.real_time
    if not isinstance(real_time, Unavailable) and real_time != tell_real_time(
        latency, report.preprocessing_ns, step_s=real_time.step_s
    ):
        raise InputError(f"{place} at /real_time: it does not follow from the times")
    if report.throughput != tell_throughput(latency, batch=batch, how=how, rate_hz=rate_hz):
        raise InputError(f"{place} at /throughput: it does not follow from samples_ns")
