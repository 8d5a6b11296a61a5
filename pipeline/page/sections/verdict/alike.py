"""Does int8 answer alike on every runtime and every machine?"""

from __future__ import annotations

from edgeticket.device_runner.report import Accuracy, Transcription
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.table import RUNTIMES
from edgeticket.pipeline.page.sections.verdict.statement import BAD, GOOD, Statement, who
from edgeticket.pipeline.page.sources import Measured, Sources


def tell_alike(sources: Sources) -> Statement | None:
    """Whether int8 outputs of one network are equal bit for bit, on every runtime and machine."""
    groups: dict[tuple[str, str], dict[str, list[Measured]]] = {}
    for one in sources.measured:
        if one.is_int8:
            report = one.report
            key = (report.artifact.network, report.accuracy.samples_sha256)
            answers = groups.setdefault(key, {})
            answers.setdefault(report.accuracy.outputs_sha256, []).append(one)
    several = [g for g in groups.values() if sum(map(len, g.values())) > 1]
    question = "Does int8 answer alike everywhere?"
    if not several:
        return None
    count = sum(len(ones) for group in several for ones in group.values())
    runtimes = dict.fromkeys(
        RUNTIMES.get(o.report.runtime.name, o.report.runtime.name)
        for group in several
        for ones in group.values()
        for o in ones
    )
    where = f"{words.listed(list(runtimes))}, " + (
        words.plural(len(sources.places), "machine") if len(sources.places) > 1 else "one machine"
    )
    if all(len(group) == 1 for group in several):
        return Statement(
            question, GOOD, f"Yes: the outputs of {'both' if count == 2 else f'all {count}'} int8 "
            "measurements are identical, bit for bit.", (f"Compared: {where}.",),
        )  # fmt: skip
    details = []
    for group in several:
        ranked = sorted(group.values(), key=len, reverse=True)
        first = ranked[0][0]
        first_ones = who(ranked[0], sources.measured)
        details += [
            f"{who(others, sources.measured)}: {_how_unlike(first, others[0])} of {first_ones}."
            for others in ranked[1:]
        ]
    return Statement(
        question, BAD, "No: some int8 outputs differ in at least one bit.", tuple(details)
    )


def _how_unlike(first: Measured, other: Measured) -> str:
    ours, theirs = first.report.accuracy, other.report.accuracy
    changed = sum(a != b for a, b in zip(ours.answers, theirs.answers, strict=True))
    what = "answer" if isinstance(ours, Accuracy | Transcription) else "output"
    return (
        f"{words.plural(changed, 'sample')} of {ours.count:,} "
        f"{'has' if changed == 1 else 'have'} another {what} than those"
    )
