"""Paths as callers give them."""

from __future__ import annotations

from pathlib import Path
from typing import Union

StrPath = Union[str, Path]  # noqa: UP007 (read by Python 3.9, which says what it lacks)


def optional_path(given: StrPath | None) -> Path | None:
    """None stays None."""
    return None if given is None else Path(given)
