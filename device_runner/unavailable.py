"""A value that could not be had, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unavailable:
    """Stands where a value would; in JSON it is ``{"unavailable": "<reason>"}``."""

    reason: str
