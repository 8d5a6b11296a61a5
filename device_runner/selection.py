"""Which artifacts of a bundle to measure here."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact, Manifest
from edgeticket.device_runner.runtimes import get_runtime


@dataclass(frozen=True)
class Selection:
    """Artifacts to measure, and (id, reason) of those left out though they were asked for."""

    chosen: tuple[Artifact, ...]
    skipped: tuple[tuple[str, str], ...]


def select(
    manifest: Manifest,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    artifact: str | Sequence[str] | None = None,
    architecture: str | None = None,
) -> Selection:
    """Every artifact that fits the given runtime, precision and ids, and that can run here.

    An artifact that is meant for other machines is left out unless it is asked for by its id.
    One whose runtime is missing is left out unless runtime or id were asked for: then it is an
    error. ``architecture`` is this machine's when not given.

    Raises:
        InputError: no artifact fits, an id that is unknown or given twice, an unknown runtime, or
            a missing one.
    """
    ids = ", ".join(entry.id for entry in manifest.artifacts)
    named = (artifact,) if isinstance(artifact, str) else tuple(artifact or ())
    for name in named:
        if all(entry.id != name for entry in manifest.artifacts):
            raise InputError(f"no artifact {name!r} in the bundle (there are: {ids})")
        if named.count(name) > 1:
            raise InputError(f"artifact {name!r} is asked for twice: name each once")
    if runtime is not None:
        get_runtime(runtime)
    wanted = [
        entry
        for entry in manifest.artifacts
        if (not named or entry.id in named)
        and runtime in (None, entry.runtime)
        and precision in (None, entry.precision)
    ]
    if not wanted:
        asked = ", ".join(word for word in (*named, runtime, precision) if word is not None)
        raise InputError(f"no artifact of the bundle is {asked} (there are: {ids})")
    here = platform.machine() if architecture is None else architecture
    chosen: list[Artifact] = []
    skipped: list[tuple[str, str]] = []
    for entry in wanted:
        if not named and here not in entry.architectures:
            skipped.append((entry.id, f"it is meant for {', '.join(entry.architectures)}"))
            continue
        try:
            get_runtime(entry.runtime).choose()
        except InputError as error:
            if named or runtime is not None:
                raise
            skipped.append((entry.id, str(error)))
            continue
        chosen.append(entry)
    if not chosen:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        raise InputError(f"no artifact can run on this {here} machine ({reasons})")
    return Selection(chosen=tuple(chosen), skipped=tuple(skipped))
