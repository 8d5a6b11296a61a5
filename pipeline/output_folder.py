"""Folders and files that commands write: only what edgeticket wrote itself is ever replaced.

A folder of results carries a record, ``.edgeticket.json``: each file in it and its SHA-256. Where
a folder has to make room for a newer one, exactly the files go that are as the record says; all
others (notes, reports measured later, files that somebody edited) move to the new folder, beside
its own under another name if need be. A folder without a record is somebody else's, and refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import MANIFEST
from edgeticket.device_runner.errors import InputError

MARK = ".edgeticket.json"
Record = Mapping[str, str]
"""Path below the folder -> SHA-256 of the file as it was written."""


def read_mark(folder: Path) -> Record | None:
    """What the record of ``folder`` lists; None: it has none that can be read."""
    try:
        files = json.loads((folder / MARK).read_bytes())["files"]
        return {str(path): str(digest) for path, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


Reader = Callable[[Path], Record | None]
"""Gives the record of a folder, None where it has none."""


def check_replaceable(folder: Path, *, read: Reader = read_mark) -> None:
    """Refuse a place for results where something lies that edgeticket did not put there.

    Args:
        folder: where a finished folder is to go.
        read: where the record of a folder is; by default the mark in it.

    Raises:
        InputError: a file or a link is there, or a folder that is not empty and has no record.
    """
    _finish_swap(folder, read)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is a link or a file, not a folder of results: choose another")
    for place in (folder, _older(folder)):
        if place.is_dir() and any(place.iterdir()) and read(place) is None:
            raise InputError(
                f"{place} is a folder that edgeticket did not make, and nothing in it is touched: "
                "choose another place or name, or move it away"
            )


def scratch_folder(folder: Path) -> Path:
    """An empty folder beside ``folder``, to fill and then to `put_in_place`.

    What an interrupted call left there goes.

    Raises:
        InputError: the place is taken by something that is not a scratch folder.
    """
    scratch = folder.with_name(f".{folder.name}.partial")
    if scratch.is_dir():
        # A call that was killed at its very start leaves its record half-written.
        others = [f for f in scratch.iterdir() if not f.name.startswith(f".{MARK}.")]
        if others and not (scratch / MARK).is_file():
            raise InputError(f"{scratch} is in the way, and edgeticket did not make it: move it")
        shutil.rmtree(scratch)
    make_folder(scratch)
    mark(scratch)
    return scratch


def mark(folder: Path) -> None:
    """Write the record of all that is in ``folder``."""
    files = {
        file.relative_to(folder).as_posix(): _sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink() and file != folder / MARK
    }
    text = json.dumps({"made_by": "edgeticket", "files": files}, indent=1, sort_keys=True)
    write_atomic(folder / MARK, text.encode())


def open_folder(folder: Path) -> None:
    """A folder of results that files are added to, made if need be; what is added stays.

    Raises:
        InputError: as `check_replaceable`.
    """
    check_replaceable(folder)
    if not (folder / MARK).exists():
        make_folder(folder)
        mark(folder)


def put_in_place(scratch: Path, folder: Path, *, read: Reader = read_mark) -> None:
    """The finished ``scratch`` becomes ``folder``; of an older one stays what is not in its record.

    Killed at any moment, the next call goes on from there.

    Raises:
        InputError: as `check_replaceable`.
    """
    check_replaceable(folder, read=read)
    if read is read_mark:
        mark(scratch)
    if folder.exists():
        folder.rename(_older(folder))
    scratch.rename(folder)
    _finish_swap(folder, read)


def read_bundle_record(folder: Path) -> Record | None:
    """What the manifest of a bundle that `edgeticket bundle` made lists; None: it is none."""
    try:
        return _record_of((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def is_bundle_zip(data: bytes) -> bool:
    """Whether ``data`` is a zip file of a bundle that `edgeticket bundle` made."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            record = _record_of(archive.read(MANIFEST))
            return record is not None and set(archive.namelist()) <= {*record, MANIFEST}
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, NotImplementedError, RuntimeError):
        return False


def _record_of(manifest: bytes) -> Record | None:
    try:
        document = json.loads(manifest)
        if document["provenance"]["made_by"] != "other tools":
            return None
        return {str(entry["path"]): str(entry["sha256"]) for entry in document["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def write_output(
    file: Path, data: bytes, *, ours: Callable[[bytes], bool], force: bool = False
) -> None:
    """Write a file that was asked for; an older one gives way if the same command wrote it.

    Args:
        file: where to.
        data: all of it.
        ours: whether bytes that are there already are such an output.
        force: whatever is there may go.

    Raises:
        InputError: there is another file; or it cannot be written.
    """
    check_output(file, ours=ours, force=force)
    write_atomic(file, data)


def check_output(file: Path, *, ours: Callable[[bytes], bool], force: bool = False) -> None:
    """`write_output`'s refusal, before the work.

    Raises:
        InputError: there is another file.
    """
    if force or not os.path.lexists(file):
        return
    if file.is_file() and (not file.stat().st_size or ours(file.read_bytes())):
        return
    raise InputError(
        f"{file} is there already, and not what this command writes: give another name, or move it"
    )


def json_with(*keys: str) -> Callable[[bytes], bool]:
    """Whether bytes are a JSON object, or a list of such, with these keys."""

    def ours(data: bytes) -> bool:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return False
        first = document[0] if isinstance(document, list) and document else document
        return isinstance(first, dict) and first.keys() >= set(keys)

    return ours


def remove_recorded(folder: Path, record: Record) -> None:
    """Remove the files of ``folder`` that are as ``record`` says, and folders left empty by it."""
    parents: set[Path] = set()
    for path, digest in record.items():
        file = folder / path
        inside = file.resolve().is_relative_to(folder.resolve()) and not file.is_symlink()
        if inside and file.is_file() and _sha256(file) == digest:
            file.unlink()
            parents.update(p for p in file.parents if folder in p.parents)
    for place in sorted(parents, key=lambda p: -len(p.parts)):
        if not any(place.iterdir()):
            place.rmdir()


def _finish_swap(folder: Path, read: Reader) -> None:
    older = _older(folder)
    record = read(older) if older.is_dir() else None
    if record is None:
        return
    if not os.path.lexists(folder):
        older.rename(folder)
        return
    remove_recorded(older, record)
    # What holds the record goes last: a folder that still has it is finished by the next call.
    holder = MARK if read is read_mark else MANIFEST
    _move_over(older, folder, last=holder)
    (older / holder).unlink()
    older.rmdir()


def _move_over(source: Path, target: Path, *, last: str = "") -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.name == last:
            continue
        if entry.is_dir() and not entry.is_symlink() and place.is_dir():
            _move_over(entry, place)
            entry.rmdir()
            continue
        count = 0
        while os.path.lexists(place):
            count += 1
            place = target / f"{entry.name}.kept{'' if count == 1 else count}"
        entry.rename(place)


def _older(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
