"""What two artifacts answered to the same samples: classes, or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Accuracy, Report, Transcription, Unlabelled
from edgeticket.device_runner.transcripts import count_word_errors
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.bootstrap import Interval, errors_gained, points_lost

NOTHING_ASKED = Unavailable("the samples have no labels, so that there is no score that can drop")
UNLIKE = Unavailable("float32 and codes are never equal bit for bit: their SQNR tells how near")


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

    drop_points: Interval | Unavailable  # that the later one is worse by
    agree: NDArray[np.bool_] | Unavailable  # per sample
    further: Mapping[str, tuple[float, float]]  # other measures of both


def compare_answers(before: Report, after: Report) -> Answers:
    """Hold the answers against one another.

    Raises:
        InputError: one has classes, the other texts, or they were decoded in different ways.
    """
    old, new = before.accuracy, after.accuracy
    if isinstance(old, Unlabelled) and isinstance(new, Unlabelled):
        kinds = [[(o.dtype, o.scale) for o in r.artifact.outputs] for r in (before, after)]
        agree: NDArray[np.bool_] | Unavailable = UNLIKE
        if _as_codes(kinds[0]) == _as_codes(kinds[1]):
            agree = np.asarray(old.sample_crc32) == np.asarray(new.sample_crc32)
        return Answers(NOTHING_ASKED, agree, {})
    if isinstance(old, Accuracy) and isinstance(new, Accuracy):
        labels = np.asarray(old.labels)
        predicted = np.asarray(old.predictions), np.asarray(new.predictions)
        drop = points_lost(predicted[0] == labels, predicted[1] == labels)
        return Answers(drop, predicted[0] == predicted[1], {})
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
