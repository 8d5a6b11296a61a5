"""What `edgeticket diff` found, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sources import Sources

LIMIT = 400  # layers of one artifact


@dataclass(frozen=True)
class LayerRow:
    """One layer: its own error, and the error with what came before it."""

    name: str
    is_over: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class LayerTable:
    """One artifact."""

    artifact: str
    runtime: str
    machine: str
    reference: str
    verdict: str
    is_within: bool
    rows: tuple[LayerRow, ...]
    left_out: int


@dataclass(frozen=True)
class Layers:
    """All artifacts that were compared, and whether their codes are equal to one another."""

    samples: str
    tables: tuple[LayerTable, ...]
    pairs: tuple[str, ...]


def tell_layers(sources: Sources) -> Layers | None:
    """The JSON of a diff, which anyone may have written, as tables; None: there is none."""
    if sources.diff is None:
        return None
    tables = [_table(entry) for entry in _entries(sources.diff.get("artifacts"))]
    samples = sources.diff.get("samples")
    return Layers(
        words.plural(samples, "sample") if isinstance(samples, int) else "samples",
        tuple(tables),
        tuple(_pair(entry) for entry in _entries(sources.diff.get("pairs"))),
    )


def _table(entry: Mapping[str, Any]) -> LayerTable:
    layers = _entries(entry.get("layers"))
    rows = [_row(layer) for layer in layers]
    over = [row for row in rows if row.is_over]
    verdict = (
        f"first beyond its bound: {over[0].name}, and {len(over) - 1} more"
        if over
        else "every layer keeps to its bound"
    )
    shown = rows if len(rows) <= LIMIT else (over + [r for r in rows if not r.is_over])[:LIMIT]
    return LayerTable(
        artifact=_text(entry, "artifact"),
        runtime=_text(entry, "runtime"),
        machine=_text(entry, "machine"),
        reference=_text(entry, "reference"),
        verdict=verdict,
        is_within=not over,
        rows=tuple(shown),
        left_out=len(rows) - len(shown),
    )


def _row(layer: Mapping[str, Any]) -> LayerRow:
    own, running = _mapping(layer.get("own")), _mapping(layer.get("running"))
    codes = layer.get("codes") is True
    unit = "max" if codes else "relative"
    return LayerRow(
        name=_text(layer, "name"),
        is_over=layer.get("over") is True,
        cells=(
            "int8" if codes else "float32",
            _far(own.get(unit), codes),
            _share(own.get("equal")),
            _far(running.get(unit), codes),
            _share(running.get("equal")),
            _share(layer.get("clipped")),
        ),
    )


def _pair(entry: Mapping[str, Any]) -> str:
    one, other = _text(entry, "one"), _text(entry, "other")
    if entry.get("first") is None:
        return f"{one} and {other}: equal codes in all layers that both have."
    return f"{one} and {other}: their codes part at {_text(entry, 'first')}."


def _far(value: Any, codes: bool) -> str:
    if not isinstance(value, int | float):
        return "infinite" if value is None else words.NONE
    return f"{value:.0f}" if codes else f"{value:.1e}"


def _share(value: Any) -> str:
    if not isinstance(value, int | float):
        return words.NONE
    return "100" if value == 1 else f"{int(value * 100_000) / 1000:.3f}"


def _text(entry: Mapping[str, Any], key: str) -> str:
    return str(entry.get(key, words.NONE))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
