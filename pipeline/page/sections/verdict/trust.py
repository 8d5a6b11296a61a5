"""Can the times be believed? What the rules of validity found."""

from __future__ import annotations

from collections.abc import Sequence

from edgeticket.device_runner.validity import INVALID, Finding
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.verdict.statement import BAD, GOOD, SHOWN, Statement, who
from edgeticket.pipeline.page.sources import Measured, Sources


def tell_trust(sources: Sources) -> Statement:
    """VALID or not, why, and what to do about it."""
    count = len(sources.measured)
    invalid = [one for one in sources.measured if one.report.validity.verdict == INVALID]
    unchecked = {
        rule: reason
        for one in sources.measured
        for rule, reason in one.report.validity.unchecked.items()
    }
    blind = (
        f"{words.plural(len(unchecked), 'rule')} could not be checked, because the machine does "
        "not tell what they need; see “The machine”."
    )
    warnings = _findings(sources.measured, "warnings")
    reasons = _findings(sources.measured, "reasons")
    cures = (
        *(f"{found}: {cure}." for found, cure in reasons.items()),
        *(f"Warning: {found}: {cure}." for found, cure in warnings.items()),
        *((blind,) if unchecked else ()),
    )
    question = "Can the times be believed?"
    if not invalid:
        return Statement(
            question,
            GOOD,
            f"Yes: {'all ' if count > 1 else ''}{words.plural(count, 'measurement')} "
            f"{'are' if count > 1 else 'is'} VALID.",
            more=cures,
            more_title="Warnings, and what was not looked at"
            if warnings
            else "What was not looked at",
        )
    share = f"{len(invalid)} of {count} measurements are"
    if len(invalid) == count:
        share = "the measurement is" if count == 1 else f"all {count} measurements are"
    return Statement(
        question,
        BAD,
        f"No: {share} INVALID. Answers and sizes hold; times may not.",
        tuple(f"{found}." for found in list(reasons)[:SHOWN])
        + ((f"And {len(reasons) - SHOWN} more.",) if len(reasons) > SHOWN else ()),
        more=cures,
        more_title="What to do about it",
    )


def _findings(measured: Sequence[Measured], kind: str) -> dict[str, str]:
    """Each rule that was broken once: what was found, with one example, and what to do."""
    by_rule: dict[str, list[tuple[Measured, Finding]]] = {}
    for one in measured:
        for finding in getattr(one.report.validity, kind):
            by_rule.setdefault(finding.rule, []).append((one, finding))
    sentences = {}
    for found in by_rule.values():
        finding = found[0][1]
        where = f" ({who([one for one, _ in found], measured)})"
        text = finding.found[:1].upper() + finding.found[1:]
        sentences[text + where * (len(found) < len(measured))] = finding.cure
    return sentences
