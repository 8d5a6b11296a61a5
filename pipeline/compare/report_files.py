"""Which files of a folder may be reports."""

from __future__ import annotations

from pathlib import Path


def json_files(folder: Path) -> list[Path]:
    """All JSON files below ``folder``, in order, but for those that are hidden or lie in hidden
    folders: there programs keep what is theirs."""
    return [
        file
        for file in sorted(folder.rglob("*.json"))
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
