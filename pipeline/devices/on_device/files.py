"""Contents by hash, folders made of them, and the way back: files for the host."""

import contextlib
import errno
import os
import shutil
import sys
import time
from typing import IO, Any

from edgeticket.pipeline.devices.on_device import kept, mark
from edgeticket.pipeline.devices.on_device.ground import (
    Refusal,
    Request,
    alone,
    answer,
    hash_of,
    inside,
    make,
    open_locked,
    plain,
    settling,
    sync,
)

PIECE = 2**16
STALE_S = 7 * 86400  # nobody will go on with what was begun so long ago


def place(request: Request) -> Any:
    """``files`` {path: [sha256, size]} as the folder trees/``name``, if all contents are there.

    Everything that is there is read and verified; what a power cut or a full disk has spoilt is
    removed.

    Returns:
        {"folder": its path}, or {"lacks": [[sha256, size, bytes that lie there]]}.
    """
    folder = make(request["home"], "files")
    with settling(request):
        lacks = []
        for digest, size in dict(request["files"].values()).items():
            path = os.path.join(folder, plain(digest))
            if os.path.exists(path) and (os.path.getsize(path) != size or hash_of(path) != digest):
                os.unlink(path)
            if not os.path.exists(path):
                lacks.append([digest, size, size_of(part_of(folder, digest))])
        if not lacks:
            return {"folder": lay_out(request)}
    free, needed = shutil.disk_usage(folder).free, sum(size - have for _, size, have in lacks)
    if needed > free:
        sizes = f"{needed / 1e6:.1f} MB are needed in {folder}, {free / 1e6:.1f} MB are free"
        raise Refusal("the disk is full: " + sizes)
    return {"lacks": lacks}


def receive(request: Request) -> Any:
    """``files`` [[sha256, size, start]], and the bytes of each from start on -> the damaged ones.

    Bytes arrive in order and are kept as they come, so whatever breaks can go on from there.
    """
    folder = make(request["home"], "files")
    damaged = []
    for digest, size, start in request["files"]:
        path = part_of(folder, digest)
        reason = "another host sends the same file"
        with open_locked(path, lock_s=request["lock_s"], reason=reason) as part:
            if os.path.exists(os.path.join(folder, digest)):
                os.unlink(path)
                skip(size - start)
                continue
            part.truncate(start)
            copy(size - start, part)
            part.flush()
            os.fsync(part.fileno())
            if hash_of(path) != digest:
                os.unlink(path)
                damaged.append(digest)
                continue
            os.rename(path, os.path.join(folder, digest))
    sync(folder)
    return damaged


def lay_out(request: Request) -> str:
    """Hard links to contents, under their paths, as a folder that is whole or not there."""
    trees, files = make(request["home"], "trees"), make(request["home"], "files")
    if not kept.TREE.fullmatch(plain(request["name"])):
        raise Refusal("{!r} is no name for a folder of ours".format(request["name"]))
    target = os.path.join(trees, request["name"])
    links = {}
    for path, (digest, _) in request["files"].items():
        if os.path.isabs(path) or ".." in path.split("/") or not path:
            raise Refusal(f"{path!r} would lie outside of the folder")
        links[path] = os.path.join(files, digest)
    there = {os.path.join(target, path): content for path, content in links.items()}
    if not all(os.path.exists(a) and os.path.samefile(a, b) for a, b in there.items()):
        kept.remove_tree(target, links)
        if os.path.lexists(target):
            raise Refusal(f"{target} holds files that are not edgeticket's: move them elsewhere")
        kept.write_list(target, list(links))
        scratch = f"{target}.{os.getpid()}.tmp"
        for path, content in links.items():
            os.makedirs(os.path.dirname(os.path.join(scratch, path)), exist_ok=True)
            os.link(content, os.path.join(scratch, path))
        os.rename(scratch, target)
        sync(trees)
    if kept.read_list(target) is None:
        kept.write_list(target, list(links))  # it is older than lists
    kept.keep_newest(target)
    for name in os.listdir(files):  # contents that no tree has; one that is needed is sent again
        path = os.path.join(files, name)
        if not kept.CONTENT.fullmatch(name) or not kept.is_file(path):
            continue
        if name.startswith("."):
            remove_stale(path)
        elif os.stat(path).st_nlink == 1:
            os.unlink(path)
    return target


def remove_stale(part: str) -> None:
    """Remove what nobody will go on with; a clock that jumped makes anything look old."""
    with contextlib.suppress(FileNotFoundError):  # it has arrived
        if time.time() - os.path.getmtime(part) > STALE_S:
            with contextlib.suppress(Refusal), open_locked(part, lock_s=0, reason="it grows"):
                os.unlink(part)


def fetch(request: Request) -> Any:
    """``paths`` inside the home folder -> their sizes, then their bytes one after the other."""
    paths = [inside(request["home"], path) for path in request["paths"]]
    answer({"answer": [os.path.getsize(path) for path in paths]})
    for path in paths:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    return None


def remove(request: Request) -> Any:
    """Everything that edgeticket left on this device -> what is left, which others put there."""
    if not mark.is_ours(request):
        if not os.path.isdir(request["home"]) or not os.listdir(request["home"]):
            return []
        mark.claim(request)  # an edgeticket of old made it
    with alone(request), settling(request):
        return kept.forget(request["home"])


def size_of(part: str) -> int:
    """Bytes that have arrived; 0 once all have, and the part has become a content."""
    try:
        return os.path.getsize(part)
    except FileNotFoundError:
        return 0


def part_of(folder: str, digest: str) -> str:
    return os.path.join(folder, f".{plain(digest)}.part")


def copy(count: int, file: IO[bytes]) -> None:
    """``count`` bytes of the standard input; what came before the link broke stays in the file."""
    try:
        while count:
            piece = sys.stdin.buffer.read(min(count, PIECE))
            if not piece:
                raise Refusal("the link broke")
            file.write(piece)
            count -= len(piece)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                os.unlink(file.name)  # it would only keep the disk full
        raise


def skip(count: int) -> None:
    with open(os.devnull, "wb") as nowhere:
        copy(count, nowhere)
