"""Is the ticket within what the recipe allowed?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sections.verdict.statement import BAD, GOOD, OPEN, Statement
from edgeticket.pipeline.page.sources import Sources

_COSTS = {"macs": ("multiply-accumulates", "macs"), "parameters": ("weights", "parameters")}


def tell_budget(sources: Sources) -> Statement | None:
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
