"""New reports against all that were measured before: slower than chance explains?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.report import Report
from edgeticket.pipeline.compare.gate import Case, Gate
from edgeticket.pipeline.compare.limits import Limits
from edgeticket.pipeline.compare.pair import compare
from edgeticket.pipeline.history.noise import LEAST_RUNS, Slowdown, last_level, slowdown
from edgeticket.pipeline.history.series import Key, gather, key_of_series, read_all

Reports = Sequence[tuple[Path, Report]]


def run_history_gate(history: Sequence[Path], after: Sequence[Path], *, limits: Limits) -> Gate:
    """Judge reports by the runs of the same artifact on the same board that came before.

    Each is compared with the newest of them, as `compare` does, and keeps ``limits`` so. New
    reports of one series are held together against those past ones that are level with the newest:
    all are "slower" if their mean p90 is, by more than chance explains.

    Args:
        history: folders of reports; those of ``after`` among them do not count.
        after: reports, and folders of them.
        limits: what each must keep to besides.

    Raises:
        InputError: there is nothing to judge, or no report to judge it by.
    """
    new, _ = read_all(after)
    sessions = {report.session.id for _, report in new}
    every, _ = read_all(history)
    past = [(file, report) for file, report in every if report.session.id not in sessions]
    groups: dict[Key, list[tuple[Path, Report]]] = {}
    for file, report in new:
        groups.setdefault(key_of_series(report), []).append((file, report))
    cases = []
    for key, ones in groups.items():
        before = [(file, report) for file, report in past if key_of_series(report) == key]
        cases += _judge(ones, before, limits)
    return Gate(tuple(cases))


def _judge(new: Reports, past: Reports, limits: Limits) -> list[Case]:
    try:
        found = _slowdown(new, past)
    except InputError as error:
        return [Case(str(file), report.artifact.id, None, str(error)) for file, report in new]
    newest = max((report for _, report in past), key=lambda report: report.session.started_utc)
    cases = []
    for file, report in new:
        try:
            comparison = compare(newest, report, limits=limits)
        except InputError as error:
            cases.append(Case(str(file), report.artifact.id, None, str(error)))
            continue
        if found is not None:
            wrongs = comparison.broken_limits + ((_sentence(found),) if found.is_one else ())
            notes = comparison.notes + (() if found.is_one else (_sentence(found),))
            comparison = replace(comparison, broken_limits=wrongs, notes=notes)
        cases.append(Case(str(file), report.artifact.id, comparison, None))
    return cases


def _slowdown(new: Reports, past: Reports) -> Slowdown | None:
    """None: emulated, whose times say nothing.

    Raises:
        InputError: too few runs whose times are to be believed.
    """
    report = new[0][1]
    title = f"{report.artifact.id} with {report.runtime.threads} threads, {report.latency.scenario}"
    if not past:
        raise InputError(
            f"the history has no run of {title} on this machine: measure {LEAST_RUNS} first, one "
            "after the other, and keep their reports"
        )
    (before,) = gather(past).values()
    (after,) = gather(new).values()
    if before.is_emulated:
        return None
    if not after.times_ms:
        raise InputError(
            f"{title}: none of its {len(after.runs)} new runs is VALID, with a p90: measure again"
        )
    level = before.times_ms[last_level(before.times_ms) :]
    if len(level) < LEAST_RUNS:
        raise InputError(
            f"{title}: {len(level)} VALID runs of the history are level with the newest, and "
            f"{LEAST_RUNS} are needed to know how much runs differ by themselves: measure more"
        )
    return slowdown(level, after.times_ms)


def _sentence(found: Slowdown) -> str:
    way = "slower" if found.change > 0 else "faster"
    return (
        f"p90 is {abs(found.change):.1%} {way} than in {found.runs} runs before, which differ by "
        f"{found.noise:.1%}: chance explains {found.explained:.1%}"
    )
