"""What a reader should know first: can it be believed, what was won, is it within its budget,
and do all machines answer alike."""

from __future__ import annotations

from dataclasses import dataclass

from edgeticket.device_runner.report import Unlabelled
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.verdict.alike import tell_alike
from edgeticket.pipeline.page.sections.verdict.budget import tell_budget
from edgeticket.pipeline.page.sections.verdict.gain import tell_gain
from edgeticket.pipeline.page.sections.verdict.statement import BAD, GOOD, OPEN, SHOWN, Statement
from edgeticket.pipeline.page.sections.verdict.trust import tell_trust
from edgeticket.pipeline.page.sources import Sources

__all__ = ["BAD", "GOOD", "OPEN", "Statement", "Verdict", "give_verdict"]


@dataclass(frozen=True)
class Verdict:
    """What was measured, in a sentence, and the four answers."""

    subject: str
    statements: tuple[Statement, ...]


def give_verdict(sources: Sources) -> Verdict:
    """Sources -> what stands at the top of the page."""
    statements = (
        _limits(sources),
        _devices(sources),
        tell_trust(sources),
        tell_gain(sources),
        tell_alike(sources),
        tell_budget(sources),
    )
    return Verdict(_subject(sources), tuple(one for one in statements if one is not None))


def _subject(sources: Sources) -> str:
    first = sources.measured[0].report
    count, manifest = first.accuracy.count, sources.manifest
    data = words.plural(count, "sample")
    if manifest is not None:
        data = words.plural(count, f"{manifest.samples.split} sample") + (
            f" of {manifest.samples.dataset}"
        )
    if isinstance(first.accuracy, Unlabelled) and first.accuracy.random is not None:
        data = words.plural(count, "random input") + " (noise, not data)"
    artifacts = {one.report.artifact.id for one in sources.measured}
    threads = sorted({one.report.runtime.threads for one in sources.measured})
    return (
        f"{words.plural(len(artifacts), 'model file')} measured on "
        f"{words.listed(list(sources.places))}, with {data}, one at a time, on "
        f"{' and '.join(map(str, threads))} CPU thread{'s' * (threads != [1])}."
    )


def _limits(sources: Sources) -> Statement | None:
    """Of a comparison: whether its limits are kept."""
    cases = sources.comparisons
    if not cases:
        return None
    wrong = [case for case in cases if case.wrongs]
    question = "Are all limits kept?"
    if not wrong:
        return Statement(question, GOOD, f"Yes, by {words.plural(len(cases), 'report')}.")
    lines = [f"{case.artifact}: {sentence}" for case in wrong for sentence in case.wrongs]
    return Statement(
        question,
        BAD,
        f"No: {len(wrong)} of {words.plural(len(cases), 'report')} "
        f"{'breaks one' if len(wrong) == 1 else 'break one'}, or cannot be compared.",
        tuple(lines[:SHOWN]),
        more=tuple(lines[SHOWN:]),
    )


def _devices(sources: Sources) -> Statement | None:
    """Of a fleet: which devices measured nothing."""
    if not sources.failures:
        return None
    count = len(sources.failures)
    return Statement(
        "Did every device measure?",
        BAD,
        f"No: {words.plural(count, 'device')} did not.",
        sources.failures,
    )
