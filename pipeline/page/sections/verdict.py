"""What a reader should know first: can it be believed, what was won, is it within its budget,
and do all machines answer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeticket.device_runner.report import Unlabelled, tell_score
from edgeticket.device_runner.validity import INVALID, Finding
from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.table import (
    RUNTIMES,
    change_of,
    size_ratio,
    speedup,
)
from edgeticket.pipeline.page.sources import Measured, Sources

GOOD, BAD, OPEN = "good", "bad", "open"
SHOWN_REASONS = 3
_COSTS = {"macs": ("multiply-accumulates", "macs"), "parameters": ("weights", "parameters")}


@dataclass(frozen=True)
class Statement:
    """One answer: ``mark`` is GOOD, BAD or OPEN, which is also said in words. ``more`` is folded
    away."""

    question: str
    mark: str
    answer: str
    details: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    more_title: str = "More"


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
        _trust(sources),
        _gain(sources),
        _alike(sources),
        _budget(sources),
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
        tuple(lines[:SHOWN_REASONS]),
        more=tuple(lines[SHOWN_REASONS:]),
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


def _trust(sources: Sources) -> Statement:
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
        tuple(f"{found}." for found in list(reasons)[:SHOWN_REASONS])
        + ((f"And {len(reasons) - SHOWN_REASONS} more.",) if len(reasons) > SHOWN_REASONS else ()),
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
        where = f" ({_who([one for one, _ in found], measured)})"
        text = finding.found[:1].upper() + finding.found[1:]
        sentences[text + where * (len(found) < len(measured))] = finding.cure
    return sentences


def _gain(sources: Sources) -> Statement | None:
    one = sources.featured
    base = sources.baseline_of(one)
    report = one.report
    if base is None or base is one:
        return None
    smaller = size_ratio(report, base.report)
    parts = [
        f"{words.times(smaller if smaller >= 1 else 1 / smaller, digits=1)} "
        f"{'smaller' if smaller >= 1 else 'larger'}"
    ]
    ratio = speedup(one, base)
    if ratio is not None:
        told = ratio if ratio >= 1 else 1 / ratio
        parts.append(f"{words.times(told, digits=1)} {'faster' if ratio >= 1 else 'slower'}")
    runtime = RUNTIMES.get(report.runtime.name, report.runtime.name)
    change = change_of(report, base.report)
    details = [
        f"{one.title}, against {base.name} on the same runtime ({runtime}): "
        f"{words.kilobytes(base.report.artifact.size_bytes)} → "
        f"{words.kilobytes(report.artifact.size_bytes)} kB"
    ]
    if ratio is not None:
        details[0] += (
            f", median {words.milliseconds(base.report.latency.p50_ns)} → "
            f"{words.milliseconds(report.latency.p50_ns)} ms"
        )
    details[0] += "."
    if isinstance(report.accuracy, Unlabelled):
        parts.append(f"outputs within {tell_score(report)} of float32")
    elif change is not None and not isinstance(base.report.accuracy, Unlabelled):
        what = "word errors" if report.accuracy.lower_is_better else "right answers"
        parts.append(
            f"{what} {words.percent(base.report.accuracy.score)} → "
            f"{words.percent(report.accuracy.score)}"
        )
    won = smaller > 1 and (ratio is None or ratio > 1)
    if ratio is not None and INVALID in (report.validity.verdict, base.report.validity.verdict):
        won = False
        details.append("Measured with times that are INVALID: the ratio of times may be wrong.")
    return Statement(
        "What was won, and what did it cost?",
        GOOD if won else OPEN,
        words.listed(parts) + ".",
        tuple(details),
    )


def _alike(sources: Sources) -> Statement | None:
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
        first_ones = _who(ranked[0], sources.measured)
        details += [
            f"{_who(others, sources.measured)}: {_how_unlike(first, others[0])} of {first_ones}."
            for others in ranked[1:]
        ]
    return Statement(
        question, BAD, "No: some int8 outputs differ in at least one bit.", tuple(details)
    )


def _who(ones: Sequence[Measured], measured: Sequence[Measured]) -> str:
    """Artifacts in few words: one by its name, several by their machine and their rows."""
    if len(ones) == 1:
        return ones[0].title if len({one.place for one in measured}) > 1 else ones[0].name
    places = list(dict.fromkeys(one.place for one in ones))
    numbers = words.numbers([one.number for one in ones])
    if len({one.place for one in measured}) == 1:
        return numbers
    if len(ones) == sum(one.place in places for one in measured):
        return f"all on {words.listed(places)}"
    return f"{numbers} on {words.listed(places)}"


def _how_unlike(first: Measured, other: Measured) -> str:
    ours, theirs = first.report.accuracy, other.report.accuracy
    changed = sum(a != b for a, b in zip(ours.answers, theirs.answers, strict=True))
    what = "output" if isinstance(ours, Unlabelled) else "answer"
    return (
        f"{words.plural(changed, 'sample')} of {ours.count:,} "
        f"{'has' if changed == 1 else 'have'} another {what} than those"
    )


def _budget(sources: Sources) -> Statement | None:
    """What the recipe allowed, against what its passes left."""
    if sources.manifest is None or not sources.steps:
        return None
    recipe = sources.manifest.provenance.get("recipe")
    passes = recipe.get("compress") if isinstance(recipe, dict) else None
    if not isinstance(passes, list):
        return None
    dense, lines, kept = sources.steps[0], [], True
    for step, settings in zip(sources.steps[1:], passes, strict=False):
        budget = settings.get("budget") if isinstance(settings, dict) else None
        for key, allowed in (budget or {}).items() if isinstance(budget, dict) else ():
            share = _share(step, dense, key)
            if share is None or not isinstance(allowed, int | float):
                continue
            kept &= share <= allowed
            lines.append(
                f"{settings.get('method')}: {words.percent(share, digits=1)} of the "
                f"{_COSTS[key][0]} are left, {words.percent(allowed, digits=1)} were allowed."
            )
    question = "Is it within its budget?"
    if not lines:
        return Statement(question, OPEN, "No budget was set.")
    if kept:
        return Statement(question, GOOD, "Yes.", tuple(lines))
    return Statement(question, BAD, "No: more is left than was allowed.", tuple(lines))


def _share(step: Mapping[str, Any], dense: Mapping[str, Any], key: str) -> float | None:
    if key not in _COSTS:
        return None
    left, whole = step.get(_COSTS[key][1]), dense.get(_COSTS[key][1])
    if not isinstance(left, int | float) or not isinstance(whole, int | float) or not whole:
        return None
    return left / whole
