"""Reads plain files alone: a pipe waits for ever, and a device never ends."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import plain

LIMIT_BYTES = 2**33
# What systems leave in folders that people fill; names that begin with a dot are such, too.
LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
_KINDS = {
    stat.S_IFDIR: "Is a directory",
    stat.S_IFIFO: "it is a named pipe, not a plain file",
    stat.S_IFCHR: "it is a device, not a plain file",
    stat.S_IFBLK: "it is a device, not a plain file",
    stat.S_IFSOCK: "it is a socket, not a plain file",
}


def read_regular(path: Path, *, kind: str = "", limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The bytes of a plain file, which a link may lead to.

    Args:
        path: the file.
        kind: what errors call it, e.g. "recipe".
        limit_bytes: a larger one is refused before it is read.

    Raises:
        InputError: it is not there, cannot be read, is larger, or no plain file.
    """
    title = f"{kind} {path}" if kind else str(path)
    try:
        # Non-blocking: opening a named pipe would wait for a writer.
        at = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(at, "rb") as file:
            status = os.fstat(at)
            if not stat.S_ISREG(status.st_mode):
                reason = _KINDS.get(stat.S_IFMT(status.st_mode), "it is not a plain file")
                raise InputError(f"cannot read {title}: {reason}")
            if status.st_size > limit_bytes:
                raise InputError(
                    f"{title} has {status.st_size:,} bytes, more than {limit_bytes:,}: is it the "
                    "right file?"
                )
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {title}: {error.strerror or error}") from None
    except ValueError:  # of Python, before it asks the system
        raise InputError(f"cannot read {plain(title)}: no file has such a name") from None
    except MemoryError:
        raise InputError(f"cannot read {title}: it does not fit into memory") from None


def read_regular_text(path: Path, *, kind: str = "", limit_bytes: int = LIMIT_BYTES) -> str:
    """The text of a plain file in UTF-8; a byte order mark is none of it.

    Raises:
        InputError: as `read_regular`, or it is in another encoding.
    """
    data = read_regular(path, kind=kind, limit_bytes=limit_bytes)
    try:
        return data.decode("utf-8-sig")  # editors on Windows begin with a byte order mark
    except UnicodeDecodeError as error:
        title = f"{kind} {path}" if kind else str(path)
        raise InputError(
            f"cannot read {title}: it is not UTF-8 text (byte {error.start}); save it as such"
        ) from None


def is_regular(path: Path) -> bool:
    """Whether a plain file is there; quiet about whatever else is, or cannot be looked at."""
    return os.path.isfile(path)  # unlike Path.is_file, also quiet about names that are too long


def is_litter(name: str) -> bool:
    """Whether a system left a file or folder of this name; nobody means those."""
    return name.startswith(".") or name.lower() in LITTER


def name_some(names: Sequence[str], *, shown: int = 4) -> str:
    """Names for a sentence: the first few, and how many more."""
    more = f" and {len(names) - shown} more" * (len(names) > shown)
    return ", ".join(names[:shown]) + more
