"""Recipes and experiments that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from edgeticket.device_runner.errors import InputError


def ready_file(given: Path, *, kind: str) -> Path:
    """A file that was given, or the ready one of that name in ``pipeline/<kind>s``.

    Raises:
        InputError: there is neither.
    """
    ready = Path(str(files("edgeticket.pipeline"))) / f"{kind}s"
    named = ready / f"{given}.yaml"
    if given.exists() or given.suffix or len(given.parts) > 1:
        return given
    if not named.exists():
        names = ", ".join(sorted(file.stem for file in ready.glob("*.yaml")))
        raise InputError(f"no {kind} file and no ready {kind} is called {given} (ready: {names})")
    return named
