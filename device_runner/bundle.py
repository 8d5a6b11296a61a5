"""Reads a bundle, a folder or a .zip of its contents, as input that nobody vouches for.

Reading never writes, never executes, and never follows a link. Bytes leave this module only after
their size and SHA-256 agreed with the manifest. A file that the manifest does not list is never
opened; in a zip its name must be harmless all the same.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.chunks import Chunks
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Manifest, check_path, read_manifest
from edgeticket.device_runner.npy import parse_npy
from edgeticket.device_runner.recordings import Transcripts, parse_recordings, to_queries
from edgeticket.device_runner.regular import is_regular

MANIFEST = "manifest.json"
MANIFEST_LIMIT_BYTES = 8 * 2**20
FILE_LIMIT_BYTES = 2 * 2**30  # a file is held in memory
ENTRY_LIMIT = 10_000
RATIO_LIMIT = 200  # our arrays and models compress far less; deflate ends at 1032
RATIO_FREE_BYTES = 2**20  # small files may compress as well as they like


class _Store(Protocol):
    """Where the bytes come from."""

    def read(self, path: str, *, limit: int) -> bytes:
        """At most ``limit`` bytes of a file; one more than that when it is longer."""


class Bundle:
    """An open bundle. Every read is checked against the manifest."""

    def __init__(self, store: _Store, *, place: str) -> None:
        data = store.read(MANIFEST, limit=MANIFEST_LIMIT_BYTES)
        if len(data) > MANIFEST_LIMIT_BYTES:
            raise InputError(f"{place}: {MANIFEST} is larger than {MANIFEST_LIMIT_BYTES} bytes")
        self.manifest: Manifest = read_manifest(data, place=f"{place}: {MANIFEST}")
        self.manifest_bytes: bytes = data
        self.digest: str = hashlib.sha256(data).hexdigest()
        self._store = store
        self._place = place
        self._entries = {entry.path: entry for entry in self.manifest.files}

    def read(self, path: str) -> bytes:
        """A listed file, whole.

        Raises:
            InputError: not listed, missing, or other bytes than the manifest was made for.
        """
        if path not in self._entries:
            raise InputError(f"{self._place}: {path!r} is not listed in {MANIFEST}")
        entry = self._entries[path]
        if entry.size_bytes > FILE_LIMIT_BYTES:
            raise InputError(
                f"{self._place}: {path} has {entry.size_bytes} bytes, "
                f"more than the limit of {FILE_LIMIT_BYTES}"
            )
        data = self._store.read(path, limit=entry.size_bytes)
        if len(data) != entry.size_bytes:
            found = "more" if len(data) > entry.size_bytes else f"only {len(data)}"
            raise InputError(
                f"{self._place}: {path} should have {entry.size_bytes} bytes and has {found}: "
                "copy the bundle again"
            )
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise InputError(
                f"{self._place}: {path} is not the file that {MANIFEST} describes "
                "(SHA-256 differs): copy the bundle again"
            )
        return data

    def samples(
        self, count: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | Transcripts]:
        """Inputs as `device_runner.preprocess` takes them and labels int64 [N], read-only; or the
        queries that recordings are cut into, and what was said in those.

        Args:
            count: only the first so many; None: all.

        Raises:
            InputError: as `read`; no .npy of that dtype and rank; counts that disagree; a label
                without a name.
        """
        samples = self.manifest.samples
        if count is not None and count > samples.count:
            raise InputError(f"{count} samples were asked for, the bundle has {samples.count}")
        if self.manifest.chunks is not None:
            return self._recordings(self.manifest.chunks, count)
        inputs = parse_npy(
            self.read(samples.inputs),
            dtypes=("uint8", "int16", "float32"),
            ranks=(2, 3, 4),
            place=self._in(samples.inputs),
        )
        labels = parse_npy(
            self.read(samples.labels), dtypes=["int64"], ranks=[1], place=self._in(samples.labels)
        )
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            raise InputError(f"{self._in(samples.inputs)} has samples that are not finite")
        if not len(inputs) == len(labels) == samples.count:
            raise InputError(
                f"{self._place}: {MANIFEST} counts {samples.count} samples, "
                f"but there are {len(inputs)} inputs and {len(labels)} labels"
            )
        low, high, classes = int(labels.min()), int(labels.max()), len(self.manifest.labels)
        if low < 0 or high >= classes:
            raise InputError(
                f"{self._in(samples.labels)} has labels from {low} to {high}, "
                f"but {MANIFEST} names {classes} classes"
            )
        return inputs[:count], labels[:count]

    def _recordings(
        self, chunks: Chunks, count: int | None
    ) -> tuple[npt.NDArray[np.int16], Transcripts]:
        samples = self.manifest.samples
        flat, lengths, texts = parse_recordings(
            self.read(samples.inputs),
            self.read(samples.labels),
            places=(self._in(samples.inputs), self._in(samples.labels)),
        )
        if len(lengths) != samples.count:
            raise InputError(
                f"{self._place}: {MANIFEST} counts {samples.count} samples, but there are "
                f"{len(lengths)} recordings"
            )
        return to_queries(flat[: sum(lengths[:count])], lengths[:count], texts[:count], chunks)

    def _in(self, path: str) -> str:
        return f"{self._place}: {path}"


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle for reading; the manifest is checked at once, every other file when read.

    Raises:
        InputError: neither a folder nor a zip, or anything in it that is not as it should be.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, quiet about a path that cannot be looked at
        yield Bundle(_Folder(path), place=str(path))
        return
    if os.path.lexists(path) and not is_regular(path):
        raise InputError(f"{path} is no bundle: give a bundle folder or its .zip")
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist: give a bundle folder or its .zip") from None
        except _ZIP_ERRORS as error:
            raise InputError(f"{path} is no bundle folder and no usable zip: {error}") from None
        yield Bundle(_Zip(archive, place=str(path)), place=str(path))


class _Folder:
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
                raise InputError(f"{self._root}: {path} is missing") from None
            except OSError as error:
                # Linux says ENOTDIR for a link where a folder should be.
                link = error.errno in (errno.ELOOP, errno.ENOTDIR)
                reason = "links are not followed" if link else error.strerror
                raise InputError(f"{self._root}: cannot read {path}: {reason}") from None


class _Zip:
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
        except _ZIP_ERRORS as error:
            raise InputError(f"{where} is damaged in the zip: {error}") from None


# What zipfile raises on bytes that are no zip, or a broken one.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError),
    *(NotImplementedError, RuntimeError, ValueError),
)
