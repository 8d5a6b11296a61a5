"""Under which licence is a tool? What its package declares, and nothing guessed."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from edgeticket.device_runner.plain_text import plain

UNKNOWN = "unknown"
_CLASSIFIER = "License :: OSI Approved :: "
_LONGEST = 120  # characters; what is longer is the text of a licence, not its name


@dataclass(frozen=True)
class Licence:
    """``text`` is an SPDX expression, or a name as the package's author wrote it."""

    text: str
    is_expression: bool = False


@dataclass(frozen=True)
class Tool:
    """A Python package that made the files, by its name in the registry."""

    name: str
    version: str
    licence: Licence


def look_up(name: str, version: str) -> Tool:
    """A package with what it declares; another version than the installed one may say otherwise,
    so that its licence is unknown."""
    licence = Licence(UNKNOWN)
    try:
        metadata = importlib.metadata.metadata(name)
        if metadata["Version"] == version:
            licence = _declared(metadata.json)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    return Tool(plain(name), plain(version), licence)


def _declared(metadata: dict[str, str | list[str]]) -> Licence:
    """By PEP 639 or, in older packages, by the first line of a free text or a classifier."""
    expression = metadata.get("license_expression")
    if isinstance(expression, str):
        return Licence(plain(expression), is_expression=True)
    lines = str(metadata.get("license", "")).strip().splitlines()
    if lines and len(lines[0]) <= _LONGEST:
        return Licence(plain(lines[0].strip()))
    names = [
        classifier.removeprefix(_CLASSIFIER)
        for classifier in metadata.get("classifier", [])
        if classifier.startswith(_CLASSIFIER)
    ]
    return Licence(plain(" or ".join(names)) if names else UNKNOWN)
