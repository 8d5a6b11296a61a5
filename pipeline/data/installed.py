"""Files of installed packages, read without importing the package."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.errors import InputError


def packaged_file(packages: Sequence[str], path: str, *, title: str, install: str) -> Path:
    """Where a file of the first of ``packages`` that is installed lies.

    Importing such packages takes seconds, and what is wanted of them is one file.

    Args:
        packages: names to import, any of which has the file.
        path: of the file within each.
        title: what the file is, for the error.
        install: what to tell pip.

    Raises:
        InputError: no package is installed, or none has the file.
    """
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        file = Path(spec.origin).parent / path
        if file.is_file():
            return file
    names = " or ".join(packages)
    raise InputError(f"{title} come with the package {names}: pip install {install}")


def read_packaged(file: Path, *, sha256: str) -> bytes:
    """The bytes of a file, as they are known.

    Raises:
        InputError: it cannot be read, or has other bytes.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            f"{file} is not the file that this data set is made of: install the package anew, or "
            "another version of it"
        )
    return data
