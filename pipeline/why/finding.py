"""What `why` may answer: a closed list of causes, each with numbers and the smallest remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why the second of two versions of a network parts from the first, or loses time."""

    CLIPPED = "range clipped"
    OUTLIER = "one-channel outlier"
    SATURATING = "saturating 16-bit kernel"
    FLOAT32 = "operator in float32"
    QUANTUM = "kernel below its channel quantum"
    COPIES = "layout copies"
    FELL_BACK = "fell back to CPU"
    INPUT = "preprocessing or layout mismatch"
    VERSION = "other runtime version"


Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One key of a recipe that gets another value.

    method: passes of that name, of which the last is changed; None: the key is at the top. Several
    names: the last pass of any of them.
    """

    method: tuple[str, ...]
    key: str
    value: Value


@dataclass(frozen=True)
class Remedy:
    """What to do. Where no key of a recipe helps, ``changes`` is empty and ``says`` is all."""

    says: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One cause at one layer of the second file.

    layer: None where what is known (a report) does not know layers. evidence: numbers by what they
    are of; says: the same as a sentence.
    """

    cause: Cause
    layer: str | None
    says: str
    evidence: Mapping[str, float | int | str]
    remedy: Remedy
