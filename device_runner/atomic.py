"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgeticket.device_runner.errors import InputError


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside the target, flush to the disk, then rename over it.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; an older file at
            ``path`` is then unchanged.
    """
    with open_atomic(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when the block ends well, and vanishes otherwise.

    Raises:
        InputError: as `write_atomic`.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(scratch, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:  # Ctrl-C included: leave nothing half-written
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def make_folder(path: Path) -> None:
    """Create a folder and its parents, or accept the one that is there.

    Raises:
        InputError: something else is there, or the parent cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {path}: {error.strerror or error}") from None
