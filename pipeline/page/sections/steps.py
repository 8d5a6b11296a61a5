"""What each pass of the recipe did: sizes before and after, widths of layers, and what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeticket.pipeline.page import words
from edgeticket.pipeline.page.sources import Sources

# Keys of a step's log that have a column or a table of their own.
_SHOWN = (
    "step",
    "seconds",
    "parameters",
    "macs",
    "widths",
    "warnings",
    "validation_top1",
    "validation_wer",
)
_MEASURES = {
    "validation_top1": "right answers",
    "validation_top1_int8": "right answers in int8",
    "validation_wer": "word errors",
    "validation_sqnr_db": "nearness of int8 (SQNR), dB",
}
NAMES = {
    "train": "train the dense network",
    "import": "import weights",
    "random": "random weights",
    "finetune": "train what is left",
    "ptq": "fix the int8 scales (ptq)",
    "qat": "train with int8's rounding (qat)",
}
_WORDS = {
    "budget": "budget, as a share of the dense network",
    "macs": "MACs",
    "top1": "right answers",
    "validation top1": "right answers on validation",
}
_LONGEST = 400  # characters of one fact


@dataclass(frozen=True)
class Width:
    """Channels of one layer, and how many percent of them are left."""

    layer: str
    after: int
    before: int
    percent: int


@dataclass(frozen=True)
class Step:
    """One pass."""

    title: str
    weights: str
    work: str
    score: str
    time: str
    facts: tuple[tuple[str, str], ...]
    widths: tuple[Width, ...]
    warnings: tuple[str, ...]


def tell_steps(sources: Sources) -> tuple[Step, ...]:
    """The log of a run's passes, which is free JSON, as rows."""
    return tuple(_step(entry) for entry in sources.steps)


def _step(entry: Mapping[str, Any]) -> Step:
    name = str(entry.get("step", "step"))
    return Step(
        title=NAMES.get(name, name.replace("_", " ")),
        weights=_number(entry.get("parameters")),
        work=_number(entry.get("macs")),
        score=_score(entry),
        time=_time(entry.get("seconds")),
        facts=tuple(
            (_words(key), _fact(key, value))
            for key, value in entry.items()
            if key not in _SHOWN and not key.startswith("validation_top1_int8")
        ),
        widths=_widths(entry.get("widths")),
        warnings=tuple(map(str, _list(entry.get("warnings")))),
    )


def _score(entry: Mapping[str, Any]) -> str:
    for key in ("validation_top1_int8", "validation_top1", "validation_wer"):
        value = entry.get(key)
        if isinstance(value, float | int):
            return f"{words.percent(float(value))} {_MEASURES[key]}"
    ratio = entry.get("validation_sqnr_db")
    return f"{ratio:.1f} dB" if isinstance(ratio, float | int) else words.NONE


def _time(seconds: Any) -> str:
    """As in "4.2 s" and "1 h 05 min"."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return words.NONE
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _widths(widths: Any) -> tuple[Width, ...]:
    if not isinstance(widths, dict):
        return ()
    found = []
    for layer, pair in widths.items():
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair):
            after, before = pair
            percent = round(100 * after / before) if before > 0 else 0
            found.append(Width(str(layer), after, before, min(100, max(0, percent))))
    return tuple(found)


def _words(key: str) -> str:
    text = key.replace("_", " ")
    for code, word in _WORDS.items():
        if text == code or (code == "validation top1" and text.startswith(code)):
            return text.replace(code, word)
    return text


def _fact(key: str, value: Any) -> str:
    """A value by its key: shares are told in percent."""
    is_share = any(part in key for part in ("share", "top1", "agreement", "wer"))
    if is_share and isinstance(value, float) and 0 <= value <= 1:
        return words.percent(value)
    if isinstance(value, dict):
        parts = ", ".join(f"{_words(str(k))} {_fact(str(k), v)}" for k, v in value.items())
        return _told(parts)
    return _told(value)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        text = ", ".join(map(_told, value))
    else:
        text = words.NONE if value is None else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _number(value: Any) -> str:
    return words.count(value) if isinstance(value, int) else words.NONE


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
