"""Content-addressed stage results: resume is free, and nothing is ever half-written.

A stage is a function that writes files into an empty folder. Its key is everything that can
change those files: configuration with all defaults, digests of its inputs, the code that it can
reach (`pipeline.store.code`), and the versions of the tools. A result is written into a scratch
folder and renamed when it is whole, so a process killed at any moment leaves either no result
or a complete one. A long stage may keep a state file in the scratch folder's ``resume`` and
carry on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeticket.pipeline.store.code import code_digest

RECORD = "stage.json"


@dataclass(frozen=True)
class Result:
    """A finished stage: its folder, a digest of the bytes in it, and how long making it took, which
    is unknown where a call that was stopped had begun it."""

    folder: Path
    digest: str
    reused: bool
    seconds: float | None = None


@dataclass(frozen=True)
class Store:
    """Stage results below ``root``, one folder each, named by stage and key."""

    root: Path

    def stage(
        self,
        name: str,
        make: Callable[[Path, Path], None],
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        tools: Sequence[str],
        fresh: bool = False,
    ) -> Result:
        """The result of a stage, made now or found whole from an earlier run.

        Args:
            name: what people read in the folder's name.
            make: ``make(folder, resume)`` writes the result's files into the empty ``folder``;
                what it leaves in the folder ``resume`` survives a crash and is gone afterwards.
                The code that it can reach is part of the key: give a function that only works,
                with what it needs bound to it (`functools.partial`).
            config: JSON values that decide the result, defaults included.
            inputs: digests of what the stage reads.
            tools: distributions whose version counts.
            fresh: make it even if a result is there.
        """
        recipe = {
            "stage": name,
            "config": config,
            "inputs": inputs,
            "code": code_digest(make),
            "tools": {tool: importlib.metadata.version(tool) for tool in tools},
        }
        key = hashlib.sha256(canonical_json(recipe)).hexdigest()
        final = self.root / f"{name}-{key[:32]}"
        scratch = self.root / f"{name}-{key[:32]}.partial"
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(final.with_suffix(".lock")):
            digest = None if fresh else _whole(final, key)
            if digest is not None:
                return Result(final, digest, reused=True, seconds=_seconds(final))
            _clear(final)
            resume, folder = scratch / "resume", scratch / "result"
            shutil.rmtree(folder, ignore_errors=True)
            resume.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            is_resumed, started = any(resume.iterdir()), time.monotonic()
            make(folder, resume)
            seconds = None if is_resumed else round(time.monotonic() - started, 3)
            files = {f.name: _sha256(f) for f in sorted(folder.iterdir())}
            record = {"key": key, "recipe": recipe, "files": files, "seconds": seconds}
            (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
            for file in folder.iterdir():
                _flush(file)
            _flush(folder)
            folder.rename(final)
            _flush(self.root)
            shutil.rmtree(scratch)
            return Result(final, _digest_of(files), reused=False, seconds=seconds)


def canonical_json(value: object) -> bytes:
    """One text for one value: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _whole(folder: Path, key: str) -> str | None:
    """The digest of a stored result if every file is as it was written, else None."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files: dict[str, str] = record["files"]
        names = {f.name for f in folder.iterdir()} - {RECORD}
        same = record["key"] == key and names == set(files)
        if same and all(_sha256(folder / name) == digest for name, digest in files.items()):
            return _digest_of(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return None


def _seconds(folder: Path) -> float | None:
    """How long a stored result took; None: it is not known."""
    seconds = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def _clear(folder: Path) -> None:
    """Make room for a result: what the record lists goes; what else lies there is put aside."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        for name in json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]:
            (folder / Path(name).name).unlink(missing_ok=True)
        (folder / RECORD).unlink()
        folder.rmdir()
    count = 0
    while os.path.lexists(folder):
        count += 1
        aside = folder.with_name(f"{folder.name}.kept{count}")
        if not os.path.lexists(aside):
            folder.rename(aside)


def _digest_of(files: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json(files)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two runs that need the same thing: the second waits, then finds the first one's result.

    Processes started with ``close_fds=False`` inherit the lock and hold it as long as they live.
    """
    with path.open("a") as file:
        os.set_inheritable(file.fileno(), True)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
