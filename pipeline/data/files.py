"""Where files lie that a recipe names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.errors import InputError


def find_file(name: str, *, folders: Sequence[Path], kind: str = "file") -> Path:
    """The first of ``folders`` in which the file ``name`` exists; absolute names stand alone.

    Raises:
        InputError: it is in none of them.
    """
    candidates = [folder / os.path.expanduser(name) for folder in folders]
    exists = os.path.isdir if kind == "folder" else os.path.isfile  # quiet about any name
    for path in candidates:
        if exists(path):
            return path
    looked = ", ".join(dict.fromkeys(str(path.absolute()) for path in candidates))
    raise InputError(f"no {kind} {name!s:.200} (looked for {looked})")
