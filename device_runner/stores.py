"""Where the bytes of a bundle come from: a folder, or a .zip of its contents."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import check_path

MANIFEST = "manifest.json"
ENTRY_LIMIT = 10_000
RATIO_LIMIT = 200  # our arrays and models compress far less; deflate ends at 1032
RATIO_FREE_BYTES = 2**20  # small files may compress as well as they like


class Store(Protocol):
    """What a bundle is read from."""

    def read(self, path: str, *, limit: int) -> bytes:
        """At most ``limit`` bytes of a file; one more than that when it is longer."""


class FolderStore:
    """A bundle folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, *, limit: int) -> bytes:
        """Walks down from the root one part at a time and refuses links on the way."""
        *folders, name = path.split("/")
        with contextlib.ExitStack() as stack:
            try:
                at = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, at)
                for folder in folders:
                    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                    stack.callback(os.close, at)
                # Non-blocking: opening a named pipe would wait for a writer.
                at = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
                file = stack.enter_context(open(at, "rb"))
                status = os.fstat(at)
                if not stat.S_ISREG(status.st_mode):
                    raise InputError(f"{self._root}: {path} is not a regular file")
                return file.read(min(limit, status.st_size) + 1)  # read() allocates what it asks
            except FileNotFoundError:
                inner = self._root / "bundle"
                hint = f": give {inner}" if path == MANIFEST and (inner / path).is_file() else ""
                raise InputError(f"{self._root}: {path} is missing{hint}") from None
            except OSError as error:
                # Linux says ENOTDIR for a link where a folder should be.
                link = error.errno in (errno.ELOOP, errno.ENOTDIR)
                reason = "links are not followed" if link else error.strerror
                raise InputError(f"{self._root}: cannot read {path}: {reason}") from None


class ZipStore:
    """A bundle as a .zip file."""

    def __init__(self, archive: zipfile.ZipFile, *, place: str) -> None:
        self._archive = archive
        self._place = place
        self._size_bytes = os.fstat(archive.fp.fileno()).st_size if archive.fp else 0
        self._entries: dict[str, zipfile.ZipInfo] = {}
        if len(archive.infolist()) > ENTRY_LIMIT:
            raise InputError(f"{place} has more than {ENTRY_LIMIT} entries: no bundle does")
        for entry in archive.infolist():
            # orig_filename: zipfile cuts filename at a NUL and rewrites separators.
            name = entry.orig_filename
            check_path(name[:-1] if name.endswith("/") else name, place=place)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"{place}: {name} is a link or a device, not a plain file")
            if name in self._entries:
                raise InputError(f"{place}: {name} is in the zip twice")
            self._entries[name] = entry

    def read(self, path: str, *, limit: int) -> bytes:
        """Inflates piecewise, and not further than the limit, whatever the zip declares."""
        if path not in self._entries:
            hint = ": zip the contents of the folder, not the folder" if path == MANIFEST else ""
            raise InputError(f"{self._place}: {path} is missing{hint}")
        entry = self._entries[path]
        where = f"{self._place}: {path}"
        if entry.flag_bits & 1:
            raise InputError(f"{where} is encrypted: make the zip without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where} is compressed by another method than deflate")
        if entry.compress_size > self._size_bytes:
            raise InputError(f"{where} claims more bytes than the zip has: copy it again")
        if entry.file_size > max(RATIO_FREE_BYTES, RATIO_LIMIT * entry.compress_size):
            raise InputError(f"{where} claims to inflate more than {RATIO_LIMIT} times: refused")
        try:
            with self._archive.open(entry) as file:
                return file.read(limit + 1)
        except ZIP_ERRORS as error:
            raise InputError(f"{where} is damaged in the zip: {error}") from None


# What zipfile raises on bytes that are no zip, or a broken one.
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError),
    *(NotImplementedError, RuntimeError, ValueError),
)
