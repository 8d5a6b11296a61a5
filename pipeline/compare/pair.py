"""Two reports in, one verdict out.

A comparison changes one thing. *Fidelity*: same machine, same samples, another artifact — what
did compression cost and bring? *Platform*: same artifact, another machine — does the device
give the same answers, and how fast? *Threads*: the same artifact on the same machine with more of
them. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Judged, Report, TaskScores, Unlabelled
from edgeticket.device_runner.scenarios import PACED
from edgeticket.device_runner.unavailable import Unavailable
from edgeticket.pipeline.compare.answers import NOTHING_ASKED, compare_answers
from edgeticket.pipeline.compare.bootstrap import Interval, latency_ratio, nearest_rank
from edgeticket.pipeline.compare.fidelity import pair_outputs
from edgeticket.pipeline.compare.limits import Limits, break_limits
from edgeticket.pipeline.compare.machines import key_of, name_of
from edgeticket.pipeline.compare.result import ChangedSample, Comparison


def compare(before: Report, after: Report, *, limits: Limits) -> Comparison:
    """Compare two reports.

    Args:
        before: what to compare with.
        after: what is judged.
        limits: broken ones are listed in the result.

    Raises:
        InputError: the two differ in more than one thing; the message says in what.
    """
    kind = _kind(before, after)
    answers = compare_answers(before, after)
    emulated = _emulated(before, after)
    if emulated is not None and (limits.max_p90_ms, limits.min_speedup) != (None, None):
        raise InputError(f"no limit on latency can be judged: {emulated.reason}")
    p50 = _p50_ms(before), _p50_ms(after)
    p90 = _p90_ms(before), _p90_ms(after)
    speedup_p50 = emulated or latency_ratio(before, after, 0.5)
    missing = emulated or next((p for p in p90 if isinstance(p, Unavailable)), None)
    old, new = before.accuracy, after.accuracy
    agree, drop = answers.agree, answers.drop_points
    agreement: float | Unavailable
    changed: tuple[ChangedSample, ...] = ()
    if isinstance(agree, Unavailable):
        agreement = agree
    else:
        agreement = float(agree.mean())
        changed = _changed(old, new, np.flatnonzero(~agree).tolist())
    unit = _unit(old)
    relative = _relative(drop, _score(before), unit)
    _check_judgeable(limits, drop, relative, agreement)
    identical = before.accuracy.outputs_sha256 == after.accuracy.outputs_sha256
    return Comparison(
        kind=kind,
        notes=_notes(before, after),
        before=_title(before),
        after=_title(after),
        interleaved=before.session.id == after.session.id and before.latency.scenario != PACED,
        verdicts=(before.validity.verdict, after.validity.verdict),
        size_ratio=before.artifact.size_bytes / after.artifact.size_bytes,
        speedup_p50=speedup_p50,
        speedup_p90=missing or latency_ratio(before, after, 0.9),
        p50_ms=p50,
        p90_ms=p90,
        measure=old.measure,
        unit=unit,
        lower_is_better=old.lower_is_better,
        scores=(_score(before), _score(after)),
        drop_points=answers.drop_points,
        drop_relative=relative,
        further=answers.further,
        agreement=agreement,
        alike_of=0 if isinstance(agree, Unavailable) else len(agree),
        identical_outputs=identical,
        changed=changed,
        fidelity=pair_outputs(before, after),
        broken_limits=break_limits(
            limits,
            before,
            after,
            drop_points=drop,
            drop_relative=relative,
            unit=unit,
            speedup=speedup_p50,
            agreement=agreement,
            identical=identical,
        ),
    )


def _unit(accuracy: Judged) -> str:
    if isinstance(accuracy, TaskScores):
        return accuracy.described.unit
    return "dB" if isinstance(accuracy, Unlabelled) else "share"


def _relative(
    drop: Interval | Unavailable, before: float | Unavailable, unit: str
) -> float | Unavailable:
    if isinstance(drop, Unavailable):
        return drop
    if isinstance(before, Unavailable) or before == 0:
        return Unavailable("the score before is 0")
    return drop.value / abs(before) / (100.0 if unit == "share" else 1.0)


def _score(report: Report) -> float | Unavailable:
    """By its measure: a share, or of outputs of which nothing is asked the lowest SQNR in dB."""
    if not isinstance(report.accuracy, Unlabelled):
        return report.accuracy.score
    if isinstance(report.fidelity, Unavailable):
        return report.fidelity
    return report.fidelity.worst.sqnr_db


def _changed(old: Judged, new: Judged, indices: Sequence[int]) -> tuple[ChangedSample, ...]:
    if isinstance(old, (Unlabelled, TaskScores)) or isinstance(new, (Unlabelled, TaskScores)):
        return tuple(ChangedSample(i, None, None, None) for i in indices)
    return tuple(ChangedSample(i, old.truth[i], old.answers[i], new.answers[i]) for i in indices)


def _check_judgeable(
    limits: Limits,
    drop: Interval | Unavailable,
    relative: float | Unavailable,
    agreement: float | Unavailable,
) -> None:
    """Refuse a limit on what these reports do not have.

    Raises:
        InputError: there is one.
    """
    is_limited = (limits.max_drop_points, limits.max_drop_relative) != (None, None)
    if is_limited and isinstance(drop, Unavailable):
        way_out = "; --min-sqnr is for such reports" * (drop == NOTHING_ASKED)
        raise InputError(f"no limit on a drop can be judged: {drop.reason}{way_out}")
    if limits.max_drop_relative is not None and isinstance(relative, Unavailable):
        raise InputError(f"no part of a score can be judged: {relative.reason}")
    if limits.min_agreement is not None and isinstance(agreement, Unavailable):
        raise InputError(f"no limit on agreement can be judged: {agreement.reason}")


def _kind(before: Report, after: Report) -> str:
    """Which one thing differs.

    Raises:
        InputError: the reports are not comparable.
    """
    unlike: list[str] = []
    if before.accuracy.samples_sha256 != after.accuracy.samples_sha256:
        unlike.append("they were measured on different samples")
    if before.latency.scenario != after.latency.scenario:
        unlike.append(f"scenario {before.latency.scenario} against {after.latency.scenario}")
    same_threads = before.runtime.threads == after.runtime.threads
    same_artifact = before.artifact.sha256 == after.artifact.sha256 or _are_twins(before, after)
    same_machine = key_of(before) == key_of(after)
    if not same_threads and not (same_machine and same_artifact):
        unlike.append(f"{before.runtime.threads} against {after.runtime.threads} threads")
    withheld = [", ".join(r.runtime.withheld) or "nothing" for r in (before, after)]
    if same_machine and withheld[0] != withheld[1]:
        unlike.append(f"{withheld[0]} against {withheld[1]} withheld from the runtime")
    if not same_machine and not same_artifact:
        unlike.append(
            f"both the machine ({name_of(before)} against {name_of(after)}) and the artifact "
            f"({before.artifact.id} against {after.artifact.id}) differ: change one at a time"
        )
    if unlike:
        raise InputError("these two reports cannot be compared: " + "; ".join(unlike))
    if not same_threads:
        return "threads"
    return "platform" if same_artifact else "fidelity"


def _are_twins(before: Report, after: Report) -> bool:
    """One network written twice from the same scales: signed codes for ARM, unsigned for x86."""
    own = [
        (r.bundle.digest, r.artifact.network, r.artifact.runtime, r.artifact.precision)
        for r in (before, after)
    ]
    machines = [set(r.artifact.architectures) for r in (before, after)]
    return own[0] == own[1] and not machines[0] & machines[1]


def _notes(before: Report, after: Report) -> tuple[str, ...]:
    """What else differs and may be at the bottom of a difference."""
    notes = []
    if key_of(before) == key_of(after):
        old, new = before.machine, after.machine
        software = {"kernel": (old.kernel, new.kernel), "system": (old.os, new.os)}
        software["Jetson release"] = (old.jetson, new.jetson)
        software["memory"] = (_memory(old.memory_bytes), _memory(new.memory_bytes))
        notes = [
            f"the same machine with another {name}: {_tell(a)} against {_tell(b)}"
            for name, (a, b) in software.items()
            if a != b
        ]
    if before.bundle.digest != after.bundle.digest:
        notes.append(
            f"they were measured with two bundles that differ: {before.bundle.name} "
            f"({before.bundle.digest[:12]}) against {after.bundle.name} "
            f"({after.bundle.digest[:12]}); samples are the same, models, labels or preprocessing "
            "may not be"
        )
    return tuple(notes)


def _memory(size_bytes: int | Unavailable) -> str | Unavailable:
    """In GB, for kernels keep unlike amounts for themselves."""
    return size_bytes if isinstance(size_bytes, Unavailable) else f"{size_bytes / 1e9:.0f} GB"


def _tell(value: str | Unavailable) -> str:
    return "unknown" if isinstance(value, Unavailable) else value


def _emulated(*reports: Report) -> Unavailable | None:
    """Why times say nothing, if one of the machines is emulated."""
    for report in reports:
        if isinstance(report.machine.emulated, str):
            by = report.machine.emulated
            return Unavailable(f"times of {_title(report)} are emulated ({by}), not measured")
    return None


def _p50_ms(report: Report) -> float | Unavailable:
    times = np.asarray(report.latency.samples_ns, dtype=np.float64)
    return _emulated(report) or nearest_rank(times, 0.5) / 1e6


def _p90_ms(report: Report) -> float | Unavailable:
    p90 = report.latency.p90_ns
    return _emulated(report) or (p90 if isinstance(p90, Unavailable) else p90 / 1e6)


def _title(report: Report) -> str:
    return f"{report.artifact.id} on {name_of(report)}"
