"""Remedies as lines of a recipe, and as what `--set` takes for a given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from edgeticket.pipeline.why.finding import Change, Remedy


def yaml_lines(remedy: Remedy) -> list[str]:
    """The lines that a recipe needs; none where no key of recipes helps."""
    lines: list[str] = []
    for change in remedy.changes:
        if change.method:
            entry: dict[str, Any] = {"method": change.method[0], change.key: _plain(change.value)}
            document: Mapping[str, Any] = {"compress": [entry]}
        else:
            outer, _, inner = change.key.partition(".")
            document = {outer: {inner: _plain(change.value)} if inner else _plain(change.value)}
        lines += yaml.safe_dump(document, sort_keys=False).splitlines()
    return lines


def overrides(changes: Sequence[Change], recipe: Mapping[str, Any]) -> list[str]:
    """``KEY=VALUE`` for each change that alters the recipe; of passes the last one of that method.

    Args:
        changes: of one remedy, or of several.
        recipe: whole, as plain values.
    """
    passes = list(recipe.get("compress", ()))
    told: dict[str, str] = {}
    for change in changes:
        value = yaml.safe_dump(
            _plain(change.value), default_flow_style=True, explicit_end=False
        ).split("\n")[0]
        if not change.method:
            before: Any = recipe
            for key in change.key.split("."):
                before = before.get(key) if isinstance(before, Mapping) else None
            if before != change.value:
                told[change.key] = value
            continue
        places = [i for i, one in enumerate(passes) if one.get("method") in change.method]
        if places and change.key in passes[places[-1]]:
            at = places[-1]
            if passes[at][change.key] not in (change.value, _plain(change.value)):
                told[f"compress.{at}.{change.key}"] = value
    return [f"{key}={value}" for key, value in told.items()]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
