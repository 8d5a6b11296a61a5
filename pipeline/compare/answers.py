"""What two artifacts answered to the same samples: classes, or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import NOBODY_LOOKED
from edgeticket.device_runner.report import (
    Accuracy,
    PerSample,
    Report,
    TaskScores,
    Transcription,
    Unlabelled,
)
from edgeticket.device_runner.transcripts import count_word_errors
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.bootstrap import (
    Interval,
    drawn_change,
    errors_gained,
    points_lost,
    ratio_change,
)

NOTHING_ASKED = Unavailable("the samples have no labels, so that there is no score that can drop")

OTHER_REFERENCES = Unavailable(
    "outputs are not in reports, and two bundles have references of their own"
)


def _as_codes(kinds: Sequence[tuple[str, float | None]]) -> list[object]:
    """uint8 and int8 codes compare: the runner shifts the one to the other."""
    return ["codes" if scale is not None else dtype for dtype, scale in kinds]


def tell_factor(report: Report) -> float | Unavailable:
    """Time for a second of speech, in seconds, where texts are heard."""
    real_time = report.real_time
    return real_time if isinstance(real_time, Unavailable) else real_time.factor


@dataclass(frozen=True)
class Answers:
    """Those of a later report beside those of an earlier one."""

    # What the later one is worse by: percentage points of shares, else in the metric's unit.
    drop_points: Interval | Unavailable
    agree: NDArray[np.bool_] | Unavailable  # per sample
    further: Mapping[str, tuple[float, float]]  # other measures of both


def compare_answers(before: Report, after: Report) -> Answers:
    """Hold the answers against one another.

    Raises:
        InputError: one has classes, the other texts, or they were decoded in different ways.
    """
    old, new = before.accuracy, after.accuracy
    if isinstance(old, Unlabelled) and isinstance(new, Unlabelled):
        agree = _alike(before, old, after, new)
        kinds = [[(o.dtype, o.scale) for o in r.artifact.outputs] for r in (before, after)]
        if isinstance(agree, Unavailable) and _as_codes(kinds[0]) == _as_codes(kinds[1]):
            agree = np.asarray(old.sample_crc32) == np.asarray(new.sample_crc32)
        return Answers(NOTHING_ASKED, agree, {})
    if isinstance(old, Accuracy) and isinstance(new, Accuracy):
        labels = np.asarray(old.labels)
        predicted = np.asarray(old.predictions), np.asarray(new.predictions)
        drop = points_lost(predicted[0] == labels, predicted[1] == labels)
        return Answers(drop, predicted[0] == predicted[1], {})
    if isinstance(old, TaskScores) and isinstance(new, TaskScores):
        return _of_task(before, old, after, new)
    if not (isinstance(old, Transcription) and isinstance(new, Transcription)):
        raise InputError(
            "these two reports cannot be compared: they answer different questions "
            f"({old.measure} against {new.measure})"
        )
    if old.decoder != new.decoder:
        raise InputError(
            f"these two reports cannot be compared: one was decoded by {old.decoder}, the other by "
            f"{new.decoder}"
        )
    counted = [count_word_errors(a.said, a.heard) for a in (old, new)]
    words = np.array([count for _, count in counted[0]])
    errors = [np.array([wrong for wrong, _ in each]) for each in counted]
    further = {"CER": (old.cer, new.cer)}
    factors = [tell_factor(report) for report in (before, after)]
    told = [factor for factor in factors if isinstance(factor, float)]
    if len(told) == 2:
        further["real time"] = (told[0], told[1])
    agree = np.array([a == b for a, b in zip(old.heard, new.heard, strict=True)])
    return Answers(errors_gained(errors[0], errors[1], words), agree, further)


def _of_task(before: Report, old: TaskScores, after: Report, new: TaskScores) -> Answers:
    if (old.task, old.settings) != (new.task, new.settings):
        raise InputError(
            "these two reports cannot be compared: they answer different questions "
            f"({old.task} {dict(old.settings)} against {new.task} {dict(new.settings)})"
        )
    scores = old.score, new.score
    lost: Interval | Unavailable
    if isinstance(scores[0], Unavailable) or isinstance(scores[1], Unavailable):
        lost = next(score for score in scores if isinstance(score, Unavailable))
    else:
        lost = Interval(scores[0] - scores[1], None, None)
        if isinstance(old.per_sample, PerSample) and isinstance(new.per_sample, PerSample):
            lost = ratio_change(old.per_sample, new.per_sample)
        elif not isinstance(old.resampled, Unavailable) and not isinstance(
            new.resampled, Unavailable
        ):
            lost = drawn_change(old.resampled, new.resampled, lost.value)
        factor = 100.0 if new.described.unit == "share" else 1.0
        lost = lost.scaled(-factor if new.lower_is_better else factor)
    others = {
        name: (value, new.metrics[name])
        for name, value in old.metrics.items()
        if name != old.headline
    }
    further = {
        name: (a, b)
        for name, (a, b) in others.items()
        if not (isinstance(a, Unavailable) or isinstance(b, Unavailable))
    }
    return Answers(lost, _alike(before, old, after, new), further)


def _alike(
    before: Report, old: TaskScores | Unlabelled, after: Report, new: TaskScores | Unlabelled
) -> NDArray[np.bool_] | Unavailable:
    """For each sample whether the answer is the same, by what the task calls the same.

    Outputs are not in reports. Answers are the same where outputs are equal bit for bit, or where
    both are that of the reference outputs of the first one's network; the rest counts as another.
    Only the samples with references are looked at.
    """
    if old.outputs_sha256 == new.outputs_sha256:
        return np.ones(old.count, dtype=np.bool_)
    if before.bundle.digest != after.bundle.digest:
        return OTHER_REFERENCES
    network, right = before.artifact.network, []
    for report in (before, after):
        if isinstance(report.fidelity, Unavailable):
            return report.fidelity
        differing = report.fidelity.differing.get(network, NOBODY_LOOKED)
        if isinstance(differing, Unavailable):
            return differing
        flags = np.ones(report.fidelity.samples, dtype=np.bool_)
        flags[list(differing)] = False
        right.append(flags)
    count = min(len(right[0]), len(right[1]), old.count)
    equal = np.asarray(old.sample_crc32[:count]) == np.asarray(new.sample_crc32[:count])
    agree: NDArray[np.bool_] = (right[0][:count] & right[1][:count]) | equal
    return agree
